"""What a recipe has set for a part that the command line has replaced.

`experiment=kiel/resnet50` sets the milestones of its scheduler. With `scheduler=cosine` behind it they stand in the config
of a scheduler that has none. They go with the part that they were written for, so that any part of a recipe can be swept.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from reid_lightning.config.resolve import OBJECT_CALLS, class_of, plain_unresolved
from reid_lightning.config.schema import groups

NAMED = {
    "loss": "loss", "data": "data.sources", "report": "reports", "task": "tasks", "callbacks": "callbacks",
    "logger": "logger",
}  # fmt: skip
"""Groups whose options stand by their names below a key; any other group's option is the key of the group's name itself."""

ALWAYS_KNOWN = {*OBJECT_CALLS, "weight"}  # the weight of a term is its task's


def without_leftover(config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Take settings out of a composed config that stand at a part which does not know them.

    Args:
        config: As Hydra has composed it; it is changed.
        overrides: Those of the command line. Only parts that they choose (`scheduler=cosine`) are looked at, and what they
            set themselves (`+scheduler.milestones=[9]`) stays, to be refused where the part is built.

    Returns:
        The keys that were taken out.

    Examples:
        >>> config = OmegaConf.create({"scheduler": {"_target_": "fractions.Fraction", "numerator": 1, "milestones": [9]}})
        >>> without_leftover(config, ["scheduler=fraction"]), config.scheduler.numerator
        (['scheduler.milestones'], 1)
    """
    lines = [line.partition("=")[0].lstrip("+~") for line in overrides]
    chosen = {line.partition("@")[0] for line in lines} & groups().keys()
    given = [line for line in lines if line not in chosen]
    composed = plain_unresolved(config)
    found: list[str] = []
    for group in sorted(chosen):
        key = NAMED.get(group, group)
        node: Any = composed
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if isinstance(node, Mapping):
            found += _nameless(node, key) if group in NAMED else _unknown(node, key)
    taken = [key for key in found if not any(line == key or line.startswith(f"{key}.") for line in given)]
    with open_dict(config):
        for key in taken:
            above, _, name = key.rpartition(".")
            if above:
                del OmegaConf.select(config, above)[name]
            else:
                config[name] = None
    return taken


def _nameless(options: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield those options of which nothing is left but settings."""
    for name, option in options.items():
        if isinstance(option, Mapping) and not _builds(option):
            yield f"{path}.{name}"


def _unknown(node: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the settings of a part that what it builds does not take; the part itself where it builds nothing."""
    if not _builds(node):
        if node:
            yield path
        return
    target = class_of(node)
    takes = inspect.signature(target).parameters if callable(target) else {}
    takes_all = not takes or any(one.kind is one.VAR_KEYWORD for one in takes.values())
    for name, value in node.items():
        if not takes_all and name not in takes and name not in ALWAYS_KNOWN:
            yield f"{path}.{name}"
        elif isinstance(value, Mapping) and "_target_" in value:
            yield from _unknown(value, f"{path}.{name}")


def _builds(node: Mapping[str, Any]) -> bool:
    """Return whether something is built of a node, or of one within it."""
    return "_target_" in node or any(_builds(each) for each in node.values() if isinstance(each, Mapping))
