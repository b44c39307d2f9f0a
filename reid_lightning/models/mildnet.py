"""MILDNet: one VGG16, pooled at five depths."""

import torch
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from reid_lightning.models.pooling import AveragePooling

LAYOUT = cfgs["D"]  # VGG16: channels of its 13 convolutions, "M" where a block ends


class MILDNet(nn.Module):
    """The five blocks of VGG16, each block's end pooled, all depths in one vector (FH Kiel 2020; Vishvakarma et al. 2019).

    Early blocks know color and texture, late ones shape; one network gives both. The vector leaves as a map of
    1 x 1, which every pooling passes on unchanged.

    Args:
        width: Factor of the channels, which are 64, 128, 256, 512 and 512 at 1.0: together 1472.

    Attributes:
        features: The layers, under torchvision's names for VGG16.
        out_channels: Length of the vector.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.features = make_layers(
            [entry if entry == "M" else round(width * int(entry)) for entry in LAYOUT]
        )
        self.pooling = AveragePooling()
        self.out_channels = 0
        channels = 0
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                channels = layer.out_channels
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")  # as torchvision
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.MaxPool2d):
                self.out_channels += channels

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, out_channels, 1, 1): the blocks in order of depth."""
        blocks = []
        for layer in self.features:
            images = layer(images)
            if isinstance(layer, nn.MaxPool2d):
                blocks.append(self.pooling(images))
        return torch.cat(blocks, 1)[:, :, None, None]
