"""Where a run resumes: its last complete checkpoint, and the message about it."""

import logging
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid_lightning.config.resolve import quoted
from reid_lightning.config.schema import of_network
from reid_lightning.config.validate import differences
from reid_lightning.distributed.ddp_launcher import is_first_process
from reid_lightning.engine.checkpoint_entry import CHECKPOINT_KEY, trained_epochs
from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint import read_resumable
from reid_lightning.experiments.feeding import feed_continued
from reid_lightning.experiments.tasks import tasks_of
from reid_lightning.models.feed import Feed
from reid_lightning.results.finished import is_finished
from reid_lightning.systems.task import Task, task_nodes

log = logging.getLogger("reid_lightning")


@dataclass(frozen=True)
class Resumed:
    """The checkpoint that a run continues from.

    Attributes:
        path: The file.
        epochs: Epochs trained until then.
        feed: How images come into its network.
    """

    path: Path
    epochs: int
    feed: Feed


def resumed_from(config: Mapping[str, Any], output_dir: Path) -> Resumed | None:
    """Return the checkpoint that `resume` means, which fits the run; None for a new run.

    `auto` is `last` in a folder that has a `last.ckpt`, and a new run in any other. Where `last.ckpt` is damaged,
    `resume=last` takes the newest readable checkpoint of the run.

    Raises:
        InputError: The folder holds a run that is not to be continued, there is no readable checkpoint, the training is
            over, or the checkpoint is of another network.
    """
    resume = config["resume"]
    last = output_dir / "checkpoints" / "last.ckpt"
    if resume == "auto":
        resume = "last" if last.exists() else None
    if resume is None:
        if last.exists() and is_first_process():
            raise InputError(
                f"{output_dir} already holds a run; continue it with resume=last, or choose another hydra.run.dir"
            )
        return None
    path = last if resume == "last" else Path(resume)
    if not path.is_file():
        where = f"hydra.run.dir={output_dir}" if resume == "last" else f"resume={resume}"
        raise InputError(
            f"there is no checkpoint {path} to resume from ({where}); name the folder of the run to continue with "
            "hydra.run.dir=DIR, or the file itself with resume=FILE"
        )
    try:
        checkpoint, _ = read_resumable(path)
    except InputError:
        if resume != "last":
            raise
        path, checkpoint = _newest(output_dir)
        log.warning(
            "%s is damaged: continuing from %s, after epoch %d", last, path, trained_epochs(checkpoint)
        )
    saved = checkpoint[CHECKPOINT_KEY]["config"]
    feed = feed_continued(saved, config, path)
    config = {**_with_saved_cameras(config, saved), "feed": feed.as_dict()}
    _check(checkpoint, path, config, untested=resume == "last" and not is_finished(output_dir))
    return Resumed(path, trained_epochs(checkpoint), feed)


def _with_saved_cameras(config: Mapping[str, Any], saved: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a config whose backbone names the cameras of its checkpoint, where it would take those of the data."""
    node, before = config["backbone"], saved.get("backbone")
    named = before.get("cameras") if isinstance(before, Mapping) else None
    if "cameras" not in node or node["cameras"] is not None or named is None:
        return config
    return {**config, "backbone": {**node, "cameras": named}}


def how_to_continue(folder: Path, sweeping: bool) -> str:
    """Return what to do about a run that has been interrupted, from what is on the disk.

    Args:
        folder: The run's folder.
        sweeping: Whether the run is a job of a sweep, which the same command continues whatever is there.
    """
    if sweeping:
        return "Interrupted. Run the same command again to continue the sweep."
    if is_finished(folder):
        return f"Interrupted after the run had finished: its results are in {folder}."
    try:
        epochs = trained_epochs(_newest(folder)[1])
    except InputError:
        epochs = 0
    if not epochs:
        return "Interrupted before the end of the first epoch. There is no checkpoint yet: run the same command again."
    plain = re.fullmatch(r"[\w./-]+", str(folder), re.ASCII)
    place = f"hydra.run.dir={folder}" if plain else shlex.quote(f"hydra.run.dir={quoted(folder)}")
    return f"Interrupted. Add {place} resume=last to the command to continue after epoch {epochs}."


def _read(path: Path) -> dict[str, Any] | None:
    """Return a checkpoint of this project; None for any other file."""
    try:
        return read_resumable(path)[0]
    except InputError:
        return None


def _newest(output_dir: Path) -> tuple[Path, dict[str, Any]]:
    """Return the readable checkpoint of a run's folder with the most epochs.

    Raises:
        InputError: There is none.
    """
    read = {path: _read(path) for path in (output_dir / "checkpoints").glob("[!.]*.ckpt")}
    found = {path: checkpoint for path, checkpoint in read.items() if checkpoint is not None}
    if not found:
        raise InputError(
            f"{output_dir / 'checkpoints' / 'last.ckpt'} is damaged, and there is no other checkpoint beside it: delete "
            f"{output_dir / 'checkpoints'} and run the command without resume=last"
        )
    # The last epoch's own file before the best one's, which was written before the epoch had ended.
    return max(found.items(), key=lambda item: (trained_epochs(item[1]), item[0].name == "last.ckpt"))


def _check(checkpoint: Mapping[str, Any], path: Path, config: Mapping[str, Any], untested: bool) -> None:
    """Refuse a checkpoint that this run cannot continue, and say what differs."""
    epochs = trained_epochs(checkpoint)
    if epochs >= config["trainer"]["max_epochs"] and not untested:
        raise InputError(
            f"{path} has already been trained for its {epochs} epochs; raise trainer.max_epochs to continue it"
        )
    saved = checkpoint[CHECKPOINT_KEY]["config"]
    tasks = {name: task for name, (task, _) in tasks_of(config).items()}
    for line in differences(_of_network(saved, tasks), _of_network(config, tasks)):
        raise InputError(
            f"the network of {path} is another one ({line}); drop the override, or start in a new folder"
        )
    for line in differences(saved, config):
        log.warning("resumed run differs from its checkpoint: %s", line)


def _of_network(config: Mapping[str, Any], tasks: Mapping[str, type[Task]]) -> dict[str, Any]:
    """Return what a config says about the network.

    Args:
        config: Of the run, or of a file, which may name anything: nothing that it names is imported.
        tasks: Classes of the run's tasks.
    """
    described, named = of_network(config), {}
    for name, node in task_nodes(config):
        named[name] = str(node["_target_"]).rpartition(".")[2]
        if name in tasks and named[name] == tasks[name].__name__:
            settings = {key: value for key, value in node.items() if key != "_target_"}
            described |= tasks[name].of_network(settings, config)
    return described | {"tasks": named}
