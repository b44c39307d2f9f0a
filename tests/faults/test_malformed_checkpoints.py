"""Damaged files, and files that are something else: one sentence for every command that reads a checkpoint."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from checkpoints import TINY, reid, trained  # noqa: F401
from safetensors.torch import save_file

from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint import load_module
from reid_lightning.experiments.resume import resumed_from

GROUP = "Malformed checkpoints"


def entry(key, value):
    """Return a change of our entry."""
    return lambda content: content["reid_lightning"].__setitem__(key, value)


def without(*keys):
    """Return a change that deletes a key."""

    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def config(key, value):
    """Return a change of a dotted key of the config."""

    def change(content):
        node = content["reid_lightning"]["config"]
        *parents, last = key.split(".")
        for name in parents:
            node = node[name]
        node[last] = value

    return change


def state(change_weights):
    """Return a change of the weights."""

    def change(content):
        change_weights(content["state_dict"])

    return change


def first_weight(new):
    """Return a change of the first weight of the network."""
    name = "network.backbone.body.conv1.weight"
    return state(lambda weights: weights.__setitem__(name, new(weights[name])))


def of_the_future(content):
    """Name a later version, and an argument that it may have brought."""
    entry("version", "99.0")(content)
    config("backbone.from_the_future", 1)(content)


CHANGED = {
    "a tensor alone": lambda content: torch.zeros(3),
    "a list": lambda content: [1, 2],
    "weights alone": lambda content: content["state_dict"],
    "no entry of ours": without("reid_lightning"),
    "an entry that is text": lambda content: content.__setitem__("reid_lightning", "text"),
    "an entry that is empty": lambda content: content.__setitem__("reid_lightning", {}),
    "config null": entry("config", None),
    "config text": entry("config", "text"),
    "config a list": entry("config", [1]),
    "config empty": entry("config", {}),
    "config with a tensor": config("seed", torch.zeros(2)),
    "no data": without("reid_lightning", "config", "data"),
    "no backbone": without("reid_lightning", "config", "backbone"),
    "no evaluation": without("reid_lightning", "config", "evaluation"),
    "no identity_labels": without("reid_lightning", "identity_labels"),
    "identity_labels a list": entry("identity_labels", [1, 2]),
    "identity_labels of text": entry("identity_labels", {"a": "b"}),
    "tasks' facts a list": entry("tasks", [1]),
    "state_dict missing": without("state_dict"),
    "state_dict a list": lambda content: content.__setitem__("state_dict", [1]),
    "state_dict empty": lambda content: content.__setitem__("state_dict", {}),
    "state_dict of numbers": lambda content: content.__setitem__("state_dict", {"a": 1}),
    "a weight missing": state(lambda weights: weights.pop("network.backbone.body.conv1.weight")),
    "a weight too many": state(lambda weights: weights.__setitem__("network.x", torch.zeros(1))),
    "a weight of another shape": first_weight(lambda weight: weight[:1]),
    "a weight of claimed size": first_weight(lambda weight: torch.zeros(1).expand(10**12)),
    "a sparse weight": first_weight(lambda weight: weight.to_sparse()),
    "weights that are not finite": first_weight(lambda weight: weight * float("nan")),
    "evaluation a number": config("evaluation", 3),
    "evaluation of another class": config("evaluation", {"_target_": "reid_lightning.models.necks.BNNeck"}),
    "an unknown distance": config("evaluation.distance", "x"),
    "data.image_size text": config("data.image_size", "x"),
    "data.image_size negative": config("data.image_size", [-32, 16]),
    "data.image_size huge": config("data.image_size", [10**9, 10**9]),
    "data.batch_size 0": config("data.batch_size", 0),
    "data.sources a list": config("data.sources", []),
    "tasks a list": config("tasks", []),
    "tasks of text": config("tasks", {"identity": "x"}),
    "backbone text": config("backbone", "resnet10"),
    "backbone without _target_": config("backbone", {"width": 1}),
    "an unknown argument": config("backbone.depth", 3),
    "a negative width": config("backbone.width", -1.0),
    "a width of text": config("backbone.width", "x"),
    "a width of 10^9": config("backbone.width", 1e9),
    "a width that takes gigabytes": config("backbone.width", 30.0),
    "pooling null": config("pooling", None),
    "classifier a number": config("classifier", 4),
    "trainer.precision a list": config("trainer.precision", [1]),
    "channels_last text": config("channels_last", "x"),
    "a version of the future": of_the_future,
}


def cut(path, share):
    """Cut a file to a share of its size."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def scripted(path):
    """Write a TorchScript archive."""
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)


def archive(path):
    """Write a zip archive of something else."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"not a pickle")


def claiming(path):
    """Change the size that a tensor claims in the pickle of a checkpoint, to one that its storage does not have."""
    with zipfile.ZipFile(path) as file:
        members = {info: file.read(info) for info in file.infolist()}
    with zipfile.ZipFile(path, "w") as file:
        for info, content in members.items():
            file.writestr(info, content.replace(b"K\x03K\x03", b"K\xffK\xff"))


def vectors(path):
    """Write vectors in place of a checkpoint."""
    buffer = io.BytesIO()
    np.savez(buffer, vectors=np.zeros(3))
    path.write_bytes(buffer.getvalue())


WRITTEN = {
    "nothing there": lambda path: path.unlink(),
    "an empty file": lambda path: path.write_bytes(b""),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a text": lambda path: path.write_text("text"),
    "json": lambda path: path.write_text(json.dumps({"state_dict": {}})),
    "zeros": lambda path: path.write_bytes(b"\0" * 10_000),
    "a plain pickle": lambda path: path.write_bytes(pickle.dumps({"state_dict": {}})),
    "cut in the middle": lambda path: cut(path, 0.5),
    "cut at the end": lambda path: cut(path, 0.99),
    "another archive": archive,
    "a claimed size": claiming,
    "vectors": vectors,
    "TorchScript": scripted,
    "safetensors": lambda path: save_file({"a": torch.zeros(2)}, path),
}
WEIGHTS = (
    "state_dict empty",
    "a weight missing",
    "a weight too many",
    "a weight of another shape",
)  # met by the module
NOT_RESUMED = (
    "an unknown distance",
    "evaluation of another class",
    "a version of the future",
)  # of the evaluation
ONLY_RESUMED = {
    "no epoch": without("epoch"),
    "epoch text": lambda content: content.__setitem__("epoch", "x"),
    "no optimizer": without("optimizer_states"),
    "loops a list": lambda content: content.__setitem__("loops", []),
}


@pytest.fixture
def people(trained, monkeypatch, capsys, tmp_path):  # noqa: F811
    """A file of enrolled people."""
    file = tmp_path / "people.npz"
    assert reid(monkeypatch, capsys, "enrol", trained.path, trained.images, file)[0] == 0
    return file


@pytest.fixture
def refused(trained, people, monkeypatch, capsys, tmp_path, seen):  # noqa: F811
    """Return a function that lets every command of `reid` refuse a file in one sentence."""

    def check(path):
        output = tmp_path / "output"
        for command, arguments in {
            "evaluate": ("--output", output),
            "embed": (trained.images, output / "vectors.npz"),
            "enrol": (trained.images, output / "people.npz"),
            "identify": (people, trained.images),
        }.items():
            code, said = reid(monkeypatch, capsys, command, path, *arguments)
            assert code == 2, (command, code, said)
            lines = [line for line in said.splitlines() if line.strip()]
            assert len(lines) == 1, (command, said)
            assert lines[0].startswith("error: "), (command, said)
            assert str(path) in lines[0], (command, said)
            seen(lines[0].removeprefix("error: "))

    return check


@pytest.mark.fault(GROUP, "a part is missing, of another type, or out of range")
@pytest.mark.parametrize("what", CHANGED)
def test_a_changed_checkpoint(trained, refused, tmp_path, what):  # noqa: F811
    refused(trained.changed(tmp_path / "x.ckpt", CHANGED[what]))


@pytest.mark.fault(GROUP, "a damaged file, or another kind of file")
@pytest.mark.parametrize("what", WRITTEN)
@pytest.mark.filterwarnings("ignore")  # of torch, about TorchScript
def test_another_file(trained, refused, tmp_path, what):  # noqa: F811
    path = trained.changed(tmp_path / "x.ckpt", lambda content: None)
    WRITTEN[what](path)
    refused(path)


@pytest.mark.fault(GROUP, "a training is resumed from such a file")
@pytest.mark.parametrize(
    "what", [*(what for what in CHANGED if what not in WEIGHTS + NOT_RESUMED), *WRITTEN, *ONLY_RESUMED]
)
@pytest.mark.filterwarnings("ignore")
def test_resuming(trained, compose, tmp_path, seen, what):  # noqa: F811
    path = trained.changed(tmp_path / "x.ckpt", (CHANGED | ONLY_RESUMED).get(what, lambda content: None))
    WRITTEN.get(what, lambda path: None)(path)
    config = compose(*TINY, "callbacks=average", "trainer.max_epochs=2", f"resume={path}")
    with pytest.raises(InputError) as error:
        resumed_from(config, tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    seen(error.value)


@pytest.mark.fault(GROUP, "a training is resumed from weights of another network")
@pytest.mark.parametrize("what", WEIGHTS)
def test_weights_that_are_resumed(trained, tmp_path, seen, what):  # noqa: F811
    path = trained.changed(tmp_path / "x.ckpt", CHANGED[what])
    module, _ = load_module(trained.path)
    with pytest.raises(InputError, match="are not those of this run") as error:
        module.on_load_checkpoint(torch.load(path, weights_only=True))
    seen(error.value)


@pytest.mark.fault(GROUP, "a compressed file, which expands in memory")
def test_a_compressed_checkpoint(trained, refused, tmp_path):  # noqa: F811
    path = trained.changed(
        tmp_path / "bomb.ckpt", lambda content: content | {"callbacks": torch.zeros(10**6)}
    )
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    refused(path)
