"""The tasks of a config."""

from collections.abc import Mapping
from typing import Any

from reid_lightning.config.resolve import class_of
from reid_lightning.errors import InputError
from reid_lightning.systems.task import Task, task_nodes


def tasks_of(config: Mapping[str, Any]) -> dict[str, tuple[type[Task], dict[str, Any]]]:
    """Return class and settings of every task of a plain config, by name.

    Raises:
        InputError: What a node names is no `Task`.
    """
    found = {}
    for name, node in task_nodes(config):
        task = class_of(node)
        if not (isinstance(task, type) and issubclass(task, Task)):
            raise InputError(
                f"tasks.{name}._target_={node.get('_target_')} is not a Task of reid_lightning.systems"
            )
        found[name] = (task, {key: value for key, value in node.items() if key != "_target_"})
    return found
