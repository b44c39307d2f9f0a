"""Lists of settings, all from the table in `keys.py`."""

import copy
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from reid_lightning.config.keys import KEYS, UNSET, Effect


def keys_that_change(*effects: Effect) -> tuple[str, ...]:
    """Return the names of the keys that change one of these.

    Examples:
        >>> keys_that_change("place")
        ('output_dir', 'data.root', 'data.sources.*.root', '*.dirpath')
    """
    return tuple(key.name for key in KEYS if key.changes in effects)


def matches(key: str, names: Iterable[str]) -> bool:
    """Return whether a dotted key is one of these names, or below one of them.

    Examples:
        >>> matches("logger.wandb.tags", keys_that_change("machine"))
        True
        >>> matches("trainer.precision", keys_that_change("machine"))
        False
    """
    return any(fnmatchcase(key, name) or fnmatchcase(key, f"{name}.*") for name in names)


def changes_result(key: str) -> bool:
    """Return whether a key changes what is trained or measured."""
    return not matches(key, keys_that_change("machine", "place"))


def is_known(key: str) -> bool:
    """Return whether a key, or one that it is below, is in the table."""
    return matches(key, (row.name for row in KEYS))


def groups() -> dict[str, str]:
    """Return what the groups are, by their names: what is chosen as an option."""
    return {key.name: key.says for key in KEYS if key.group}


def bundles() -> tuple[str, ...]:
    """Return the groups whose options set keys of other groups only."""
    return tuple(key.name for key in KEYS if key.bundle)


def added_later() -> dict[str, Any]:
    """Return the keys that configs of earlier versions lack, with the values as which those were trained."""
    return {key.name: copy.copy(key.before) for key in KEYS if key.before is not UNSET}


def as_evaluated() -> dict[str, Any]:
    """Return the keys that only a training needs, with the values that an evaluation gives them."""
    return {key.name: copy.copy(key.evaluated_as) for key in KEYS if key.evaluated_as is not UNSET}


def follows_data() -> dict[str, str]:
    """Return the keys whose values follow from the data, with the keys of `data` that say what suits.

    Examples:
        >>> follows_data()["evaluation.tracklets"]
        'data.tracklets'
    """
    return {key.name: key.follows for key in KEYS if key.follows is not None}


def of_model(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a plain config says of the model among its data, by key.

    Examples:
        >>> of_model({"data": {"image_size": [64, 32], "batch_size": 8}})
        {'data.image_size': [64, 32]}
    """
    return {key.name: _select(config, key.name) for key in KEYS if key.of_model}


def hints() -> tuple[str, ...]:
    """Return the keys of `data` that other settings refer to and the data module does not take."""
    return tuple(key.name for key in KEYS if key.hint)


def repetitions() -> tuple[str, ...]:
    """Return the keys whose values repeat a run; results are averaged over them."""
    return tuple(key.name for key in KEYS if key.repeats)


def optional() -> tuple[str, ...]:
    """Return the keys that may stay unset."""
    return tuple(key.name for key in KEYS if key.optional)


def resumable() -> tuple[str, ...]:
    """Return the keys in which a resumed run may differ from its checkpoint and still compute the same.

    These are what changes no result, as in a sweep, and what may change between two parts of one training.
    """
    return tuple(key.name for key in KEYS if key.changes != "result" or key.resumable)


def raw_keys() -> tuple[str, ...]:
    """Return the keys whose values are taken as they are written on the command line: paths and patterns."""
    return (*(key.name for key in KEYS if key.raw), "hydra.run.dir", "hydra.sweep.dir")


def of_network(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a plain config says about the network, by key; None for what it does not have.

    Examples:
        >>> of_network({"neck": {"size": 2}, "seed": 1})["neck"]
        {'size': 2}
    """
    return {key.name: _select(config, key.name) for key in KEYS if key.network}


def _select(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
