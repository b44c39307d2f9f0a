"""What a checkpoint must hold for its model to be built, as one table; anybody may have written the file."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from reid_lightning.engine.checkpoint_entry import CHECKPOINT_KEY
from reid_lightning.errors import InputError
from reid_lightning.retrieval.calibration import Calibration

_LARGEST_SIDE = 10_000  # pixels
_PRECISIONS = (
    "16",
    "32",
    "64",
    "bf16",
    "16-true",
    "16-mixed",
    "32-true",
    "64-true",
    "bf16-true",
    "bf16-mixed",
)
_ABSENT = object()

Fits = Callable[[Any], bool]


def _mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _node(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("_target_"), str)


def _nodes(value: Any) -> bool:
    return isinstance(value, Mapping) and all(not node or _node(node) for node in value.values())


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _image_size(value: Any) -> bool:
    is_pair = isinstance(value, Sequence) and len(value) == 2 and not isinstance(value, str)
    return is_pair and all(type(side) is int and 0 < side <= _LARGEST_SIDE for side in value)


def _labels(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and _count(label) for name, label in value.items()
    )


def _weights(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) and is_whole(tensor)
        for name, tensor in value.items()
    )


def _calibration(value: Any) -> bool:
    try:
        Calibration.from_dict(value)
    except InputError:
        return False
    return True


def is_whole(tensor: Tensor) -> bool:
    """Return whether a tensor is a plain one that holds as many numbers as it claims."""
    return tensor.layout == torch.strided and tensor.nbytes <= tensor.untyped_storage().nbytes()


def _or_none(fits: Fits) -> Fits:
    return lambda value: value is None or value == {} or fits(value)


# Dotted name, what fits, and that in words; `_or_none` also lets it be absent.
_ENTRY = (
    ("config", _mapping, "a mapping"),
    ("identity_labels", _labels, "a mapping from names to numbers"),
    ("tasks", _or_none(_mapping), "a mapping"),
    ("validation", _or_none(_mapping), "a mapping"),
    ("calibration", _or_none(_calibration), "one that a run has measured"),
    ("card", _or_none(_mapping), "a mapping"),
)
_CONFIG = (
    ("seed", _count, "a whole number"),
    ("channels_last", lambda value: isinstance(value, bool), "true or false"),
    ("data.sources", _nodes, "readers with a _target_ each"),
    ("data.image_size", _image_size, f"a height and a width in pixels of at most {_LARGEST_SIDE}"),
    ("data.batch_size", lambda value: _count(value) and value > 0, "a whole number above 0"),
    ("backbone", _node, "a mapping with a _target_"),
    ("pooling", _node, "a mapping with a _target_"),
    ("neck", _node, "a mapping with a _target_"),
    ("classifier", _or_none(_node), "a mapping with a _target_, or null"),
    ("parts", _or_none(_node), "a mapping with a _target_, or null"),
    ("descriptor", _or_none(_node), "a mapping with a _target_, or null"),
    ("attributes", _or_none(_mapping), "a mapping, or null"),
    ("test_transform", _or_none(_node), "a mapping with a _target_, or null"),
    ("tasks", _or_none(_nodes), "tasks with a _target_ each"),
    ("reports", _or_none(_nodes), "reports with a _target_ each"),
    ("evaluation", _node, "a mapping with a _target_"),
    ("trainer.accelerator", lambda value: isinstance(value, str), "the name of a device"),
    ("trainer.precision", lambda value: str(value) in _PRECISIONS, "a precision, such as 32-true"),
)
_RESUMED = (
    ("epoch", _count, "a whole number"),
    ("global_step", _count, "a whole number"),
    ("loops", _mapping, "a mapping"),
    ("callbacks", _or_none(_mapping), "a mapping"),
    ("optimizer_states", lambda value: isinstance(value, list), "a list"),
    ("lr_schedulers", lambda value: isinstance(value, list), "a list"),
)


def check_checkpoint(checkpoint: Mapping[str, Any], path: object) -> None:
    """Refuse a checkpoint whose weights or whose entry of ours are not what a run writes.

    Raises:
        InputError: Names the first such part.
    """
    _check(checkpoint, (("state_dict", _weights, "tensors by name"),), path)
    check_entry(checkpoint[CHECKPOINT_KEY], path)


def check_entry(entry: Mapping[str, Any], path: object) -> None:
    """Refuse an entry of ours that is not what a run writes, whatever weights it belongs to.

    Raises:
        InputError: Names the first such part.
    """
    _check(entry, _ENTRY, path)
    _check(entry["config"], _CONFIG, path, "config.")


def check_resumable(checkpoint: Mapping[str, Any], path: object) -> None:
    """Refuse a checkpoint that lacks what continues a training, such as its optimizer.

    Raises:
        InputError: Names the first such part.
    """
    _check(checkpoint, _RESUMED, path)


def _check(content: Any, shape: Sequence[tuple[str, Fits, str]], path: object, where: str = "") -> None:
    for name, fits, wanted in shape:
        value = content
        for step in name.split("."):
            value = value.get(step, _ABSENT) if isinstance(value, Mapping) else _ABSENT
        if not fits(None if value is _ABSENT else value):
            state = "is missing" if value is _ABSENT else f"is a {type(value).__name__} that does not fit"
            raise InputError(
                f"{path} cannot be used as a checkpoint: its {where}{name} must be {wanted}, and {state}; use a file "
                "that a run of reid-lightning has written"
            )
