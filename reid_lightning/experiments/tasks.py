"""The tasks of a config."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from reid_lightning.config.resolve import class_of
from reid_lightning.errors import InputError
from reid_lightning.results.summary import RunResult
from reid_lightning.systems.task import Task, task_nodes

_TAKEN = {"version", *(field.name for field in fields(RunResult))}  # keys of metrics.json


def tasks_of(config: Mapping[str, Any]) -> dict[str, tuple[type[Task], dict[str, Any]]]:
    """Return class and settings of every task of a plain config, by name.

    Raises:
        InputError: What a node names is no `Task`, or it has settings that the task does not read.
    """
    found = {}
    for name, node in task_nodes(config):
        target = node.get("_target_") if isinstance(node, Mapping) else None
        if target is None:
            raise InputError(
                f"tasks.{name}={node} names no class; set tasks.{name}._target_ to that of a Task"
            )
        task = class_of(node)
        if task is None:
            raise InputError(
                f"tasks.{name}._target_={target} cannot be imported; correct the name, or set PYTHONPATH"
            )
        if not (isinstance(task, type) and issubclass(task, Task)):
            raise InputError(f"tasks.{name}._target_={target} is not a Task (reid_lightning.Task)")
        if name in _TAKEN:
            raise InputError(
                f"tasks.{name}: metrics.json has a key of this name already; call the task otherwise"
            )
        settings = {key: value for key, value in node.items() if key != "_target_"}
        if settings and not task.own_settings:
            raise InputError(
                f"tasks.{name}.{next(iter(settings))} is not read: {task.__name__} has no settings of its own, and takes "
                "those of its groups"
            )
        found[name] = (task, settings)
    return found
