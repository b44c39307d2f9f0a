"""Names and layouts of other projects' weights, brought to those of our backbones.

ResNets, VGG16 and OSNet carry the names of torchvision and torchreid here, which fast-reid, LUPerson and IBN-Net share up to
a prefix. SOLIDER's Swin has names, channel orders and a control of its own.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

SEMANTIC_WEIGHT = 0.2  # what SOLIDER's authors set for person re-identification

# As in OpenMMLab's Swin, from which SOLIDER's comes.
_SWIN_NAMES = (
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"^stages\.(\d+)\.blocks", r"layers.\1.blocks"),
    (r"\.attn\.w_msa\.", ".attn."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
    (r"^norm3\.", "norm."),
)


def from_solider(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of SOLIDER's Swin under timm's names, others as they are (Chen et al., CVPR 2023).

    Its network differs from timm's in two things that weights can make up for: patches are merged in another order of
    channels; and merged patches are scaled and shifted by a function of the semantic weight, which becomes a part of the
    merging layer. That it sees pixels in [-1, 1] is a matter of the feed (`weights.feed_in`).

    Args:
        found: Names without a prefix.
    """
    if not any(".w_msa." in name for name in found):
        return found
    renamed = {}
    for name, tensor in found.items():
        if name.endswith("relative_position_index") or name.startswith("semantic_embed"):
            continue
        for pattern, replacement in _SWIN_NAMES:
            name = re.sub(pattern, replacement, name)
        if merging := re.match(r"stages\.(\d+)\.downsample\.(.*)", name):
            name = f"layers.{int(merging[1]) + 1}.downsample.{merging[2]}"
            tensor = _merged_in_timms_order(tensor)
        renamed[name] = tensor
    _take_in_semantics(renamed, found)
    return renamed


def _merged_in_timms_order(tensor: Tensor) -> Tensor:
    """Order the last dimension from channel, row, column of the patch to column, row, channel."""
    return tensor.unflatten(-1, (-1, 2, 2)).movedim((-1, -2, -3), (-3, -2, -1)).flatten(-3)


def _take_in_semantics(renamed: dict[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Put `x softplus(scale) + shift` into the layers that merge patches."""
    control = torch.tensor([SEMANTIC_WEIGHT, 1 - SEMANTIC_WEIGHT])
    for stage in range(3):
        reduction = f"layers.{stage + 1}.downsample.reduction"
        names = [f"semantic_embed_{part}.{stage}" for part in ("w", "b")]
        if all(f"{name}.weight" in found for name in names) and f"{reduction}.weight" in renamed:
            scale, shift = (
                found[f"{name}.weight"] @ control.to(found[f"{name}.weight"]) + found[f"{name}.bias"]
                for name in names
            )
            renamed[f"{reduction}.weight"] = (
                functional.softplus(scale)[:, None] * renamed[f"{reduction}.weight"]
            )
            renamed[f"{reduction}.bias"] = shift


def fit_last_norm(found: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return the weights with a transformer's norm after pooling as the one before, where the module has only that.

    Args:
        found: Under timm's names.
        module: Normalizes each token before pooling.
    """
    if "norm.weight" in found or "norm.weight" not in module.state_dict():
        return found
    return {re.sub(r"^fc_norm\.", "norm.", name): tensor for name, tensor in found.items()}


def fit_positions(found: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Interpolate the position embeddings of a transformer of timm to its grid, where the file's is another.

    Args:
        found: Under the module's own names.
        module: The transformer; any other is left alone.
    """
    own, fitted = module.state_dict(), {}
    for name, tensor in found.items():
        if name in own and own[name].shape != tensor.shape:
            if name == "pos_embed" and tensor.ndim == 3:
                tensor = _resampled(tensor, module)
            elif name.endswith("relative_position_bias_table"):
                tensor = _of_window(tensor, module.get_submodule(name.rpartition(".")[0]).window_size)  # type: ignore[arg-type]
        fitted[name] = tensor
    return fitted


def _of_window(table: Tensor, window: tuple[int, int]) -> Tensor:
    """Return the relative position biases of another window from ((2 W - 1)², heads) ones: offsets keep their meaning.

    A smaller window knows fewer offsets; one that is larger in a direction needs more, which are interpolated.
    """
    side = round(len(table) ** 0.5)
    biases = table.T.reshape(1, -1, side, side)
    height, width = (2 * length - 1 for length in window)
    if max(height, width) > side:
        biases = functional.interpolate(biases, (height, width), mode="bicubic")
    top, left = ((size - wanted) // 2 for size, wanted in zip(biases.shape[2:], (height, width), strict=True))
    return biases[0, :, top : top + height, left : left + width].flatten(1).T


def _resampled(tensor: Tensor, module: nn.Module) -> Tensor:
    """Interpolate (1, tokens, C) absolute position embeddings, of a square grid or of one twice as high as wide."""
    prefix: int = module.num_prefix_tokens  # type: ignore[assignment]
    patches = tensor.shape[1] - prefix
    sides = [(round((patches * ratio) ** 0.5), round((patches / ratio) ** 0.5)) for ratio in (1, 2)]
    grid = next((side for side in sides if side[0] * side[1] == patches), None)
    if grid is None:
        return tensor
    from timm.layers.pos_embed import resample_abs_pos_embed  # timm takes a second, for its own models alone

    new: tuple[int, int] = module.patch_embed.grid_size  # type: ignore[union-attr, assignment]
    return resample_abs_pos_embed(tensor, list(new), list(grid), num_prefix_tokens=prefix)


def from_osnet_ain(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of torchreid's OSNet-AIN under the names of OSNet, which it shares up to streams and transitions.

    Args:
        found: Names without a prefix; those of other networks are returned as they are.
    """
    if not any(re.search(r"\.conv2\.\d\.layers\.", name) for name in found):
        return found
    renamed = {}
    for name, tensor in found.items():
        name = re.sub(r"\.conv2\.0\.layers\.0\.", ".conv2a.", name)
        name = re.sub(r"\.conv2\.([123])\.layers\.", lambda stream: f".conv2{'abcd'[int(stream[1])]}.", name)
        renamed[re.sub(r"^pool([23])\.", r"conv\1.2.", name)] = tensor
    return renamed
