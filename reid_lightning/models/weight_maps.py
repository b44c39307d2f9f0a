"""Which tensor of a foreign file belongs to which of a module: by name, by a known map of names, or by order."""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from reid_lightning.models.weight_names import from_solider

_ENOUGH = 0.5  # share of the module's names that the file's own must have for no map to be tried


def renamed(found: dict[str, Tensor], own: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Return a file's tensors under the names of a module, and in words how they got them.

    Names come first, then the known maps. Where none of these fits, tensors follow one another in the file as they do in
    the module, and every shape must be equal.

    Args:
        found: Tensors of the file, without a prefix.
        own: Tensors of the module.
    """
    if _share(found, own) < _ENOUGH:
        for source, change in _MAPS.items():
            changed = change(found, own)
            if _share(changed, own) >= _ENOUGH:
                return changed, f"by the names of {source}"
        if (ordered := _by_order(found, own)) is not None:
            return ordered, "by order, as no name fits and every shape is equal"
    return found, "by name"


def _share(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> float:
    """Return the share of the module's tensors that a file has, by name."""
    return len(found.keys() & own.keys()) / max(1, len(own))


def _from_solider(found: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return from_solider(found)


_EFFICIENTNET = {
    "_conv_stem.": "conv_stem.",
    "_bn0.": "bn1.",
    "_conv_head.": "conv_head.",
    "_bn1.": "bn2.",
    "_fc.": "classifier.",
}
# Parts of a block. The first blocks do not expand, and timm counts their normalizations from 1 all the same.
_FIRST = {
    "_depthwise_conv.": "conv_dw.",
    "_bn1.": "bn1.",
    "_project_conv.": "conv_pw.",
    "_bn2.": "bn2.",
}
_OTHERS = {
    "_expand_conv.": "conv_pw.",
    "_bn0.": "bn1.",
    "_depthwise_conv.": "conv_dw.",
    "_bn1.": "bn2.",
    "_project_conv.": "conv_pwl.",
    "_bn2.": "bn3.",
}
_SQUEEZE = {"_se_reduce.": "se.conv_reduce.", "_se_expand.": "se.conv_expand."}


def _from_efficientnet(found: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of efficientnet-pytorch, whose blocks are counted through, under timm's names."""
    stages = dict.fromkeys(match[0] for name in own if (match := re.match(r"blocks\.\d+\.\d+\.", name)))
    blocks = dict(enumerate(stages))  # in order of depth, as a module lists them
    expands = {match[1] for name in found if (match := re.match(r"_blocks\.(\d+)\._expand_conv\.", name))}
    changed = {}
    for name, tensor in found.items():
        if match := re.match(r"_blocks\.(\d+)\.(.*)", name):
            parts = _SQUEEZE | (_OTHERS if match[1] in expands else _FIRST)
            name = blocks.get(int(match[1]), "blocks.none.") + _begun(match[2], parts)
        else:
            name = _begun(name, _EFFICIENTNET)
        changed[name] = tensor
    return changed


def _begun(name: str, beginnings: Mapping[str, str]) -> str:
    """Return a name with another beginning, if it has one of these."""
    for old, new in beginnings.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _by_order(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return the file's tensors under the module's names, one after the other; None where any shape differs.

    What follows in the file is a classifier, which a backbone does not have.
    """
    named = [(name, tensor) for name, tensor in found.items() if not name.endswith("num_batches_tracked")]
    if len(named) < len(own) or any(
        tensor.shape != mine.shape for (_, tensor), mine in zip(named, own.values(), strict=False)
    ):
        return None
    fitted = {name: tensor for name, (_, tensor) in zip(own, named, strict=False)}
    return fitted | dict(named[len(own) :])


_MAPS: dict[str, Callable[[dict[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]]] = {
    "SOLIDER": _from_solider,
    "efficientnet-pytorch": _from_efficientnet,
}
