"""Windows of a Swin on maps that they do not divide: padded before they are shifted, as OpenMMLab's Swin has it."""

from typing import Any

from timm.models.swin_transformer import (
    SwinTransformer,
    SwinTransformerBlock,
    window_partition,
    window_reverse,
)
from torch import Tensor
from torch.nn import functional

from reid_lightning.models.strides import skeleton


class PaddedFirst(SwinTransformerBlock):
    """A block of timm's Swin that pads its map to whole windows, and shifts them then (Liu et al. 2021, Sec. 3.2).

    timm's own shifts first and pads what it has shifted, so that other positions share a window. Both are the same where
    the windows divide the map.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        x = x + self.drop_path1(self._attended(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x).flatten(1, 2))).view_as(x)

    def _attended(self, x: Tensor) -> Tensor:
        height, width, channels = x.shape[1:]
        size: tuple[int, int] = self.window_size
        x = functional.pad(x, (0, 0, 0, -width % size[1], 0, -height % size[0]))
        rows, columns = x.shape[1], x.shape[2]
        down, right = self.shift_size
        windows = window_partition(x.roll((-down, -right), dims=(1, 2)), size).flatten(1, 2)
        windows = self.attn(windows, mask=self.attn_mask).view(-1, *size, channels)
        return window_reverse(windows, size, rows, columns).roll((down, right), dims=(1, 2))[
            :, :height, :width
        ]


def require_swin(name: str) -> None:
    """Refuse a model whose windows cannot be padded first.

    Args:
        name: A model of timm.

    Raises:
        ValueError: It is no Swin Transformer of the first version.
    """
    if type(skeleton(name)) is not SwinTransformer:
        raise ValueError(
            f"pad_windows must be false for {name}: only Swin Transformers of the first version (swin_*) have such windows"
        )


def pad_windows(body: Any) -> None:
    """Let all blocks of a Swin that was built with `always_partition` pad their maps before they shift them.

    Args:
        body: timm's Swin, whose windows keep their size on maps that are smaller.
    """
    for module in body.modules():
        if type(module) is SwinTransformerBlock:
            module.__class__ = PaddedFirst  # the same parts and names, another forward pass
