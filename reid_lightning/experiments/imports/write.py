"""A model of another project, written as a checkpoint that every command here takes."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning import __version__ as lightning_version
from torch import Tensor

from reid_lightning import __version__
from reid_lightning.engine.checkpoint_entry import CHECKPOINT_KEY
from reid_lightning.engine.checkpoint_io import AtomicCheckpointIO
from reid_lightning.errors import InputError
from reid_lightning.experiments.compose import compose
from reid_lightning.experiments.factory import build_trained_module
from reid_lightning.experiments.imports.imported import Imported, State
from reid_lightning.experiments.imports.projects import others_with, project_of
from reid_lightning.experiments.imports.source import read_state
from reid_lightning.files import require_output
from reid_lightning.reporting.terminal import say

CHECKPOINTS = (".ckpt",)
# Where no other data are named. The classifier is left out, so that retrieval is all that the checkpoint promises.
_COMMON = ("data=market1501", "data.root=Market-1501-v15.09.15", "classifier=none")
_COUNTER = ".num_batches_tracked"  # of batch normalization; reads nothing at test, and old files lack it
_SHOWN = 3


def import_file(path: str | Path, project: str, name: str, output: str | Path) -> Imported:
    """Write a trained model of another project as a checkpoint: network, weights, feed and evaluation.

    Args:
        path: The other project's file.
        project: One of `PROJECTS`.
        name: The network, as the other project calls it.
        output: The checkpoint (`.ckpt`).

    Returns:
        What the file became.

    Raises:
        InputError: The file cannot be used, or its tensors are not exactly those of the network.
    """
    path, output = Path(path).expanduser(), Path(output)
    known = project_of(project, name)
    require_output(output, CHECKPOINTS)
    if output.exists() and path.exists() and output.samefile(path):
        raise InputError(f"{output} is the file to import: name another file to write")
    state, others = read_state(path, known)
    if CHECKPOINT_KEY in others:
        raise InputError(f"{path} is a checkpoint of reid-lightning, which every command takes as it is")
    if advice := others_with(state, project):
        raise InputError(f"{path} is not a file of {known.title}: {advice}")
    try:
        imported = known.read(state, name)
    except ValueError as error:
        raise InputError(f"{path} cannot be imported as {name} of {known.title}: {error}") from error
    imported = replace(imported, unused={**imported.unused, **others})
    config = compose([*_COMMON, *imported.overrides], output.absolute().parent)
    config = {**config, "feed": dict(imported.feed)}
    module = build_trained_module(config, {})
    own = module.network.state_dict()
    if problem := _problem(own, imported.weights):
        raise InputError(
            f"{path} does not hold {name} of {known.title}: {problem}; --name must be the network that was trained"
        )
    module.network.load_state_dict(
        {**{k: v for k, v in own.items() if k.endswith(_COUNTER)}, **imported.weights}
    )
    entry = {
        "version": __version__,
        "config": module.config,
        "identity_labels": {},
        "data": None,
        "validation": {},
        "validation_interval": None,
        "tasks": {task.name: task.saved() for task in module.tasks},
        "imported": _origin(path, project, name, imported),
    }
    content = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": lightning_version,
        "state_dict": module.state_dict(),
        CHECKPOINT_KEY: entry,
    }
    AtomicCheckpointIO().save_checkpoint(content, output)
    _report(output, name, known.title, len(own), imported)
    return imported


def _problem(own: Mapping[str, Tensor], given: State) -> str:
    """Return why tensors are not exactly those of a network, in words; empty where they are."""
    missing = [name for name in own if name not in given and not name.endswith(_COUNTER)]
    foreign = [name for name in given if name not in own]
    wrong = [name for name in own if name in given and own[name].shape != given[name].shape]
    parts = []
    if wrong:
        first = wrong[0]
        shapes = f"{tuple(given[first].shape)} instead of {tuple(own[first].shape)}"
        parts.append(f"{len(wrong)} tensors have another shape ({first}: {shapes})")
    if missing:
        parts.append(f"{len(missing)} of {len(own)} tensors are missing ({_some(missing)})")
    if foreign:
        parts.append(f"{len(foreign)} tensors belong to another network ({_some(foreign)})")
    return "; ".join(parts)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _origin(path: Path, project: str, name: str, imported: Imported) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "project": project,
        "name": name,
        "file": path.name,
        "sha256": digest,
        "unused": dict(imported.unused),
        "notes": list(imported.notes),
    }


def _report(output: Path, name: str, title: str, tensors: int, imported: Imported) -> None:
    say(f"{output}: {name} of {title}, {tensors} tensors")
    for reason, count in Counter(imported.unused.values()).items():
        names = [each for each, why in imported.unused.items() if why == reason]
        say(f"not used: {_some(names)} ({count}): {reason}")
    for note in imported.notes:
        say(note)
    backbone = [each for each in imported.overrides if each.startswith("backbone") and "weights=" not in each]
    say(f"evaluate it: reid evaluate {output} data=market1501 data.root=DIR")
    say(f"train it further: python train.py {' '.join(backbone)} backbone.weights={output}")
