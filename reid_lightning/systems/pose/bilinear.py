"""Pose-bilinear network: an appearance map and a part map, multiplied and summed over all positions."""

from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.config.declared import given, replaces
from reid_lightning.errors import require
from reid_lightning.models.branches import Parts, cell_means
from reid_lightning.models.weights import load_weights


@replaces("pooling", "the bilinear pooling of parts=pose takes its place")
@replaces("pretraining", "the part branch comes from the file of parts.weights", weights=given)
class PoseBilinear(Parts):
    """Bilinear pooling of the backbone's map and a map of body parts (Suh et al. 2018, "Part-Aligned Bilinear ...").

    The appearance map says what is where, the part map which part is where; the sum over positions of their outer product
    describes the appearance of each part, wherever it lies. It takes the pooling's place.

    Args:
        in_features: Channels of the backbone's map.
        channels: Channels of the appearance map, to which it is reduced.
        joints: Parts: one map for each key point.
        width: Channels of the part branch's first layer, 4 times as many in its last.
        weights: File of the part branch's weights (`part_branch.pt` of a run), or None.
        normalize: Scale the vector to length 1.
        signed_root: Take the root of each entry's size first (Lin et al. 2015, "Bilinear CNNs", Sec. 3).
        frozen: Keep the part branch as it was pre-trained, its batch statistics included.

    Examples:
        >>> pose = PoseBilinear(in_features=32, channels=8, joints=17, width=4)
        >>> pooled, _ = pose(torch.randn(2, 3, 64, 32), torch.randn(2, 32, 4, 2))
        >>> pooled.shape
        torch.Size([2, 136])
    """

    pooled_features: int

    def __init__(
        self,
        in_features: int,
        channels: int = 128,
        joints: int = 17,
        width: int = 32,
        weights: str | Path | None = None,
        normalize: bool = True,
        signed_root: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("joints", joints), ("width", width)):
            require(value >= 1, name, ">= 1", value)
        self.pooled_features = channels * joints
        self.normalize, self.signed_root = normalize, signed_root
        self.appearance = nn.Sequential(
            nn.Conv2d(in_features, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.frozen = frozen
        self.branch = PartBranch(joints, width).requires_grad_(not frozen).train(not frozen)
        if weights is not None:
            load_weights(self.branch, weights, "parts.weights")

    def train(self, mode: bool = True) -> Self:
        """Switch the mode of all but a frozen part branch."""
        super().train(mode)
        self.branch.train(mode and not self.frozen)
        return self

    def forward(self, images: Tensor, maps: Tensor) -> tuple[Tensor, None]:
        """Return the (B, channels x joints) bilinear vector, and no stripe features."""
        parts = self.branch(images).sigmoid()
        vector = bilinear_pooling(self.appearance(maps), parts)
        vector = signed_root(vector) if self.signed_root else vector
        return functional.normalize(vector) if self.normalize else vector, None


class PartBranch(nn.Module):
    """Where each key point is: a small convolutional network of its own, an eighth of the image's size.

    Dilated blocks see more than half of a 256 x 128 image around each position.

    Args:
        joints: Key points.
        width: Channels of the first layer.
    """

    def __init__(self, joints: int = 17, width: int = 32) -> None:
        super().__init__()
        self.joints = joints
        self.stem = nn.Sequential(
            *(_layer(3, width, stride=2)),
            *(_layer(width, 2 * width, stride=2)),
            *(_layer(2 * width, 4 * width, stride=2)),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*_layer(4 * width, 4 * width, dilation=dilation)) for dilation in (1, 2, 4, 2, 1)
        )
        self.head = nn.Conv2d(4 * width, joints, 1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, -4.0)  # a joint is at few positions only

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, joints, ceil(H / 8), ceil(W / 8)) logits of (B, 3, H, W) normalized images."""
        seen = self.stem(images)
        for block in self.blocks:
            seen = seen + block(seen)
        return self.head(seen)


def _layer(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def bilinear_pooling(appearance: Tensor, parts: Tensor) -> Tensor:
    """Return the sum over positions of the outer product of two maps, in float32 (float64 if they are).

    Maps of different sizes meet on the appearance's grid, where a cell has the parts' mean over the cell.

    Args:
        appearance: (B, C, h, w).
        parts: (B, P, h', w').

    Returns:
        (B, C x P), the P entries of a channel one after the other.

    Examples:
        >>> appearance = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
        >>> parts = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]]]])
        >>> bilinear_pooling(appearance, parts)
        tensor([[1., 2., 3., 3., 4., 7.]])
    """
    with torch.autocast(appearance.device.type, enabled=False):
        if torch.float64 not in (appearance.dtype, parts.dtype):
            appearance, parts = appearance.float(), parts.float()
        if parts.shape[2:] != appearance.shape[2:]:
            rows, columns = (
                cell_means(length, cells).to(parts)
                for length, cells in zip(parts.shape[2:], appearance.shape[2:], strict=True)
            )
            parts = rows @ parts @ columns.T
        return (appearance.flatten(2) @ parts.flatten(2).mT).flatten(1)


def signed_root(vectors: Tensor) -> Tensor:
    """Return the root of each entry's size, with its sign; a zero stays zero and passes no gradient.

    Examples:
        >>> signed_root(torch.tensor([-4.0, 0.0, 9.0]))
        tensor([-2.,  0.,  3.])
    """
    nonzero = vectors != 0
    return torch.where(nonzero, vectors.sign() * torch.where(nonzero, vectors, 1).abs().sqrt(), 0)
