"""A checkpoint of a real run, which tests of strangers' checkpoints change, and a record of what the process does."""

import copy
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from reid_lightning.cli.main import main
from reid_lightning.files import cache_dir

TINY = (
    "data.sources.pedestrians.train_identities=10",
    "data.sources.pedestrians.test_identities=6",
    "data.image_size=[32,16]",
    "data.num_workers=0",
    "data.validation=0.3",
    "sampler.identities=2",
    "sampler.images_per_identity=2",
    "trainer.accelerator=cpu",
    "+trainer.enable_progress_bar=false",
)
_EVENTS = ("open", "import", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect")
_recorded: list[tuple[str, str]] | None = None


class Checkpoint:
    """A checkpoint in memory.

    Attributes:
        path: The run's file.
        images: A folder of images of people.
    """

    def __init__(self, path: Path, images: Path) -> None:
        self.path, self.images = path, images
        self._content = torch.load(path, weights_only=True)

    def changed(self, target: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
        """Write a copy that a function has changed in place, or what it returns instead."""
        content = copy.deepcopy(self._content)
        instead = change(content)
        torch.save(content if instead is None else instead, target)
        return target

    def folder(self, target: Path, change: Callable[[dict[str, Any]], Any] = lambda content: None) -> Path:
        """Write the same as the folder of a saved model, whose fingerprint fits whatever has changed."""
        content = copy.deepcopy(self._content)
        change(content)
        state = {name: tensor for name, tensor in content["state_dict"].items() if "losses" not in name}
        target.mkdir()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, target / "model.safetensors")
        entry = content["reid_lightning"]
        digest = hashlib.sha256((target / "model.safetensors").read_bytes()).hexdigest()
        written = {"library": "reid-lightning", "format": 1, "weights_sha256": digest}
        (target / "config.json").write_text(json.dumps(written | entry))
        return target


@pytest.fixture(scope="session")
def trained(commands, tmp_path_factory) -> Checkpoint:
    """The checkpoint of a run of one epoch, its weights averaged."""
    folder = tmp_path_factory.mktemp("trained")
    ended = commands.run(
        "train.py", *TINY, "trainer.max_epochs=1", "callbacks=average", f"hydra.run.dir={folder}"
    )
    assert ended.code == 0, ended.err
    root = next(path for path in cache_dir().glob("pedestrians-*") if path.is_dir())
    images = tmp_path_factory.mktemp("people") / "anna"
    images.mkdir()
    for file in sorted((root / "query").glob("*.jpg"))[:2]:
        (images / file.name).write_bytes(file.read_bytes())
    return Checkpoint(folder / "checkpoints" / "best.ckpt", images.parent)


def reid(monkeypatch: Any, capsys: Any, *arguments: object) -> tuple[Any, str]:
    """Run `reid` in this process, which knows a test's own packages; return its exit status and what it has said."""
    monkeypatch.setattr(sys, "argv", ["reid", *map(str, arguments)])
    try:
        main()
    except SystemExit as ended:
        return ended.code, capsys.readouterr().err
    return 0, capsys.readouterr().err


@contextmanager
def recorded() -> Iterator[list[tuple[str, str]]]:
    """Record files opened, modules imported, programs started and connections made within the block."""
    global _recorded
    _recorded = []
    try:
        yield _recorded
    finally:
        _recorded = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _recorded is not None and event in _EVENTS:
        _recorded.append((event, str(arguments[0])))


sys.addaudithook(_hook)
