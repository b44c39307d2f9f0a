"""The first step of every network: the normalization of pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reid_lightning.models.feed import IMAGENET_MEAN, IMAGENET_STD


class InputNormalization(nn.Module):
    """Subtracts a mean and divides by a deviation, on the device and inside the network, so that an export carries it.

    Args:
        mean: Of pixels in [0, 1], one number per channel, red first.
        std: Their deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(tuple(mean)).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(tuple(std)).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) uint8, or float in [0, 1], to normalized float."""
        scale = 1 / self.std if images.is_floating_point() else 1 / (255 * self.std)
        images = images.to(self.mean.dtype)
        if torch.compiler.is_exporting():  # numbers in a file, and not planes
            return torch.addcmul(-self.mean / self.std, images, scale)
        # Laid out as the images are, so that one pass goes along whole images and not along three channels.
        scale, shift = (torch.empty_like(images[:1]).copy_(row) for row in (scale, -self.mean / self.std))
        return torch.addcmul(shift, images, scale)
