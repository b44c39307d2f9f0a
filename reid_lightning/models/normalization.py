"""The first step of every network: ImageNet's normalisation."""

import torch
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class InputNormalization(nn.Module):
    """ImageNet's normalisation, on the device and inside the network, so that an exported model carries it."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) uint8, or float in [0, 1], to normalised float."""
        scale = 1 / self.std if images.is_floating_point() else 1 / (255 * self.std)
        images = images.to(self.mean.dtype)
        # Laid out as the images are, so that one pass goes along whole images and not along three channels.
        scale, shift = (torch.empty_like(images[:1]).copy_(row) for row in (scale, -self.mean / self.std))
        return torch.addcmul(shift, images, scale)
