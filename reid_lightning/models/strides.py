"""Finer maps of timm's models: patches that overlap, and a last stride that is undone."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.patch_embed import PatchEmbed
from torch import nn


def overlapping_grid(image_size: Sequence[int], patch_size: Sequence[int], stride: int) -> tuple[int, int]:
    """Return rows and columns of patches: `(H - P) // S + 1` and `(W - P) // S + 1` (He et al. 2021, TransReID, Sec. 3.1).

    Examples:
        >>> overlapping_grid((256, 128), (16, 16), 12), overlapping_grid((256, 128), (16, 16), 16)
        ((21, 10), (16, 8))
    """
    rows, columns = (
        (length - patch) // stride + 1 for length, patch in zip(image_size, patch_size, strict=True)
    )
    return rows, columns


def skeleton(name: str) -> Any:
    """Return a model of timm without memory for its weights: what it is made of costs neither time nor random numbers."""
    with torch.device("meta"):
        return timm.create_model(name, num_classes=0)


def patch_size_of(name: str, stride: int) -> tuple[int, int]:
    """Return height and width of a plain vision transformer's patches, whose stride may be changed.

    Raises:
        ValueError: The model cuts no such patches, or the stride leaves gaps between them.
    """
    body = skeleton(name)
    embed: Any = getattr(body, "patch_embed", None)
    plain = type(embed) is PatchEmbed and hasattr(body, "blocks") and hasattr(body, "num_prefix_tokens")
    if not plain:
        raise ValueError(
            f"patch_stride must be null for {name}: only plain vision transformers (vit_*, deit*, eva*, beit*) cut an image "
            "into patches that may overlap"
        )
    height, width = embed.patch_size
    if not 1 <= stride <= min(height, width):
        raise ValueError(
            f"patch_stride must be 1 to {min(height, width)}, the side of a patch of {name}, got {stride}"
        )
    return height, width


def overlap_patches(body: Any, image_size: Sequence[int], stride: int) -> None:
    """Let a transformer that was built for the overlapping grid cut its patches every `stride` pixels.

    The grid, and with it position embeddings, windows and rotations, are those of an image of grid x patch pixels, which
    the model was built for.

    Args:
        body: The transformer.
        image_size: Height and width in pixels of the images to come.
        stride: Pixels between the patches.
    """
    body.patch_embed.proj.stride = (stride, stride)
    body.patch_embed.img_size = (int(image_size[0]), int(image_size[1]))


@torch.no_grad()
def undo_last_stride(body: nn.Module, name: str, image_size: Sequence[int]) -> None:
    """Let the layers that halve the last map keep its size, their weights as they are (Luo et al. 2019, Sec. 2.3).

    Which these are is seen in the passing of an empty image. No convolution is dilated instead, unlike under timm's
    `output_stride`. A convolution of even kernel, as ConvNeXt's, is padded at the bottom and the right.

    Args:
        body: Convolutional model; its map is to become twice as high and wide.
        name: Its name, for messages.
        image_size: Height and width in pixels.

    Raises:
        ValueError: Its last map does not double.
    """
    halving: list[tuple[nn.Module, tuple[int, int]]] = []

    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        before, after = inputs[0].shape[-2:], output.shape[-2:]
        if (before[0] + 1) // 2 == after[0] and (before[1] + 1) // 2 == after[1] and before[0] > 1:
            halving.append((module, (int(after[0]), int(after[1]))))

    kinds = (nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d)
    handles = [
        module.register_forward_hook(record)
        for module in body.modules()
        if isinstance(module, kinds) and _stride(module) == (2, 2)
    ]
    training = body.training
    body.eval()
    images = torch.zeros(1, 3, *image_size)
    refusal = ValueError(
        f"last_stride must be 2 for {name}: it has no strided convolution before its last map that could be undone"
    )
    try:
        last = _map_size(body, images)
        for handle in handles:
            handle.remove()
        for module, after in halving:
            if after == last:
                _keep_size(body, module)
        finer = _map_size(body, images)
        if any(new not in (2 * old - 1, 2 * old) for new, old in zip(finer, last, strict=True)):
            raise refusal
    except (RuntimeError, AssertionError) as error:  # what reads the map expects its old size
        raise refusal from error
    finally:
        for handle in handles:
            handle.remove()
        body.train(training)


def _map_size(body: Any, images: torch.Tensor) -> tuple[int, int]:
    features = body.forward_features(images)
    if not isinstance(features, torch.Tensor) or features.ndim != 4:
        raise RuntimeError("no map of rows and columns")
    rows, columns = (
        features.shape[1:3] if getattr(body, "output_fmt", "NCHW") == "NHWC" else features.shape[2:]
    )
    return int(rows), int(columns)


def _stride(module: Any) -> tuple[int, int]:
    return module.stride if isinstance(module.stride, tuple) else (module.stride, module.stride)


def _keep_size(body: nn.Module, module: Any) -> None:
    """Set the stride of a convolution or pooling to 1, its output as large as its input."""
    side = module.kernel_size if isinstance(module.kernel_size, int) else module.kernel_size[0]
    if side % 2:
        module.stride = (1, 1)
    elif isinstance(module, nn.Conv2d):
        size: Any = module.kernel_size
        padded = Conv2dSame(
            module.in_channels,
            module.out_channels,
            size,
            1,
            0,
            1,
            module.groups,
            module.bias is not None,
        )
        padded.weight, padded.bias = module.weight, module.bias
        _replace(body, module, padded)
    else:  # an average of 2 x 2 on a shortcut: there is nothing to shrink any more
        _replace(body, module, nn.Identity())


def _replace(body: nn.Module, old: nn.Module, new: nn.Module) -> None:
    name = next(name for name, module in body.named_modules() if module is old)
    setattr(body.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], new)
