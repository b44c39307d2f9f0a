"""The tasks of a config, and what a network must give for what reads it."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import yaml

from reid_lightning.config.resolve import CONF, target_of, targets
from reid_lightning.errors import InputError
from reid_lightning.losses.spec import spec_of
from reid_lightning.models.branches import Branch
from reid_lightning.models.features import FIELDS
from reid_lightning.systems.task import Task, task_nodes


def tasks_of(config: Mapping[str, Any]) -> dict[str, tuple[type[Task], dict[str, Any]]]:
    """Return class and settings of every task of a plain config, by name.

    Raises:
        InputError: What a node names is no `Task`.
    """
    found = {}
    for name, node in task_nodes(config):
        task = target_of(node)
        if not (isinstance(task, type) and issubclass(task, Task)):
            raise InputError(
                f"tasks.{name}._target_={node.get('_target_')} is not a Task of reid_lightning.systems"
            )
        found[name] = (task, {key: value for key, value in node.items() if key != "_target_"})
    return found


def check_tasks(config: Mapping[str, Any]) -> None:
    """Refuse settings that tasks cannot work with, and fields that are read but not given, before any work.

    Raises:
        InputError: Names the keys and what to change.
    """
    for task, _ in tasks_of(config).values():
        task.check(config)
    given = dict(_branches(config))
    for reader, field in _read(config):
        if field not in FIELDS and field not in given:
            raise InputError(
                f"{reader} reads the {field} of a network, which this one does not give; choose "
                f"{_alternatives(_options(partial(_does_give, field)))}"
            )
    read = {field for _, field in _read(config, losses_only=True)}
    for field, branch in given.items():
        if branch.needs_loss and field not in read:
            fitting = _options(partial(_does_read, field))
            raise InputError(
                f"no loss reads the {field} that this network gives, so nothing would train them; add one that does "
                f"({_alternatives(fitting)}), or leave them out"
            )


def _branches(config: Mapping[str, Any]) -> Iterator[tuple[str, type[Branch]]]:
    """Yield what the branches of a config's network add to its features, with their classes."""
    for _, target in targets(config):
        branch = target_of({"_target_": target})
        if (field := _gives(branch)) is not None:
            yield field, branch


def _gives(target: Any) -> str | None:
    return target.gives if isinstance(target, type) and issubclass(target, Branch) else None


def _read(config: Mapping[str, Any], losses_only: bool = False) -> Iterator[tuple[str, str]]:
    """Yield who reads which field of the features."""
    for name, node in (config["loss"] or {}).items():
        for field in spec_of(target_of(node)).reads:
            yield f"loss={name}", field
    if losses_only:
        return
    evaluation = config["evaluation"]
    yield f"evaluation.feature={evaluation['feature']}", evaluation["feature"]
    rerank = target_of(evaluation.get("rerank"))
    if getattr(rerank, "reads", None):
        yield f"evaluation.rerank={rerank.__name__}", rerank.reads


def _does_give(field: str, target: Any) -> bool:
    return _gives(target) == field


def _does_read(field: str, target: Any) -> bool:
    return field in spec_of(target).reads


def _options(fits: Callable[[Any], bool]) -> list[str]:
    """Return the options of the config's groups that name something that fits, as GROUP=NAME."""
    found = []
    for file in sorted(CONF.glob("*/*.yaml")):
        if file.parent.name == "experiment":
            continue
        named = targets(yaml.safe_load(file.read_text(encoding="utf-8")))
        if any(fits(target_of({"_target_": target})) for _, target in named):
            found.append(f"{file.parent.name}={file.stem}")
    return found


def _alternatives(options: list[str]) -> str:
    *others, last = options
    return f"{', '.join(others)} or {last}" if others else last
