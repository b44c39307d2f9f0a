"""OSNet, omni-scale feature learning (Zhou et al., ICCV 2019)."""

import torch
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation and, unless `activate` is false, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, activate: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True) if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, out_channels, h/stride, w/stride)."""
        return self.relu(self.bn(self.conv(x)))


class LightConv3x3(nn.Module):
    """Lite 3x3 layer: pointwise, then depthwise convolution, normalised once (section 3.1)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, groups=out_channels, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, out_channels, h, w)."""
        return self.relu(self.bn(self.conv2(self.conv1(x))))


class AggregationGate(nn.Module):
    """Channel weights of a stream from its global average; one gate serves all streams (equation 4)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels of (B, C, h, w)."""
        w = x.mean((2, 3), keepdim=True)
        return x * self.fc2(self.fc1(w).relu()).sigmoid()


class OmniScaleBlock(nn.Module):
    """Residual block of four streams of 1 to 4 Lite layers, weighed by one gate and added (section 3.2, figure 4).

    Stream t sees (2t + 1) x (2t + 1) pixels of its input.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        middle = out_channels // 4
        self.conv1 = ConvNorm(in_channels, middle, 1)
        self.conv2a = LightConv3x3(middle, middle)
        self.conv2b = nn.Sequential(*(LightConv3x3(middle, middle) for _ in range(2)))
        self.conv2c = nn.Sequential(*(LightConv3x3(middle, middle) for _ in range(3)))
        self.conv2d = nn.Sequential(*(LightConv3x3(middle, middle) for _ in range(4)))
        self.gate = AggregationGate(middle)
        self.conv3 = ConvNorm(middle, out_channels, 1, activate=False)
        self.downsample = (
            ConvNorm(in_channels, out_channels, 1, activate=False)
            if in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) to (B, out_channels, h, w)."""
        y = self.conv1(x)
        streams = (self.gate(stream(y)) for stream in (self.conv2a, self.conv2b, self.conv2c, self.conv2d))
        return torch.relu(self.conv3(sum(streams)) + self.downsample(x))


class OSNet(nn.Module):
    """OSNet without its fully connected layer (table 1).

    Args:
        width: Factor of the channels; the paper has 1.0, 0.75, 0.5 and 0.25.

    Attributes:
        out_channels: Channels of the map, 512 times the width.
        layers: Parts in order of depth.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        stem, first, second, third = (int(channels * width) for channels in (64, 256, 384, 512))
        self.conv1 = ConvNorm(3, stem, 7, 2)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.conv2 = nn.Sequential(
            OmniScaleBlock(stem, first), OmniScaleBlock(first, first), _transition(first)
        )
        self.conv3 = nn.Sequential(
            OmniScaleBlock(first, second), OmniScaleBlock(second, second), _transition(second)
        )
        self.conv4 = nn.Sequential(OmniScaleBlock(second, third), OmniScaleBlock(third, third))
        self.conv5 = ConvNorm(third, third, 1)
        self.out_channels = third
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def layers(self) -> list[nn.Module]:
        """Stem, blocks and transitions, last convolution."""
        return [self.conv1, *self.conv2, *self.conv3, *self.conv4, self.conv5]

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, out_channels, H/16, W/16)."""
        return self.conv5(self.conv4(self.conv3(self.conv2(self.maxpool(self.conv1(images))))))


def _transition(channels: int) -> nn.Sequential:
    """Pointwise convolution and halving of the map between stages."""
    return nn.Sequential(ConvNorm(channels, channels, 1), nn.AvgPool2d(2))
