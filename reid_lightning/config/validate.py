"""What can be seen to be wrong in a config before any work starts."""

import inspect
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from reid_lightning.config.resolve import class_of
from reid_lightning.config.schema import matches, resumable
from reid_lightning.config.typed import check_values
from reid_lightning.errors import InputError

log = logging.getLogger("reid_lightning")


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse or warn about settings that do not go together.

    Raises:
        InputError: Names the keys and what to change.
    """
    check_values(config)
    trainer = config["trainer"]
    tasks = {name for name, node in (config["tasks"] or {}).items() if node}
    if not config["loss"] and not config["classifier"] and tasks <= {"identity"}:
        raise InputError("loss=none and classifier=none leave nothing to train: choose one of them")
    if config["classifier"] and "identity" not in tasks:
        raise InputError(
            "classifier is trained by tasks.identity, which this config lacks; add it, or classifier=none"
        )
    if config["refit"] and str(config["data"].get("validation")).lower() in ("none", "0", "0.0"):
        raise InputError(
            "refit=true needs a validation split to choose the number of epochs; set data.validation=0.1"
        )
    if config["time_limit"] is not None and config["refit"]:
        raise InputError(
            "time_limit cannot be combined with refit=true, whose second training cannot be continued; drop one"
        )
    if "16" in str(trainer["precision"]) and "true" in str(trainer["precision"]):
        raise InputError(
            f"trainer.precision={trainer['precision']} keeps the weights in 16 bits, where small steps vanish; "
            f"use {str(trainer['precision']).replace('true', 'mixed')}"
        )
    has_memory = bool((config.get("memory") or {}).get("size"))
    if config["loss"] and trainer["accumulate_grad_batches"] > 1 and not has_memory:
        log.warning(
            "trainer.accumulate_grad_batches=%d does not enlarge the pool that metric losses mine in; "
            "raise sampler.identities for that, or set memory.size",
            trainer["accumulate_grad_batches"],
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield a line for every setting that differs between two plain configs, but for those that a resumed run may change.

    Nothing is the same as an empty mapping, and an argument that is left out the same as its default.

    Examples:
        >>> list(differences({"seed": 1, "resume": None}, {"seed": 2, "resume": "last"}))
        ['seed was 1, is 2']
    """
    defaults = _defaults(new) if old.get("_target_") == new.get("_target_") else {}
    for key in sorted(old.keys() | new.keys()):
        where = f"{path}.{key}" if path else str(key)
        if matches(where, resumable()):
            continue
        before, after = (side.get(key, defaults.get(key)) for side in (old, new))
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differences(before, after, where)
        elif before != after and not (before in (None, {}) and after in (None, {})):
            yield f"{where} was {before!r}, is {after!r}"


def _defaults(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of what a config node builds, in the types of a plain config."""
    target = class_of(node)
    parameters = inspect.signature(target).parameters if target is not None else {}
    values = {name: one.default for name, one in parameters.items() if one.default is not one.empty}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
