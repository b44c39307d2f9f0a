"""OSNet, omni-scale feature learning for person re-identification (Zhou et al., ICCV 2019).

Submodules carry the names of the published weights, so that such a file loads without a table of names.
"""

import torch
from torch import Tensor, nn

# Channels after conv1, conv2, conv3 and conv4 at width 1.0 (table 1).
_CHANNELS = (64, 256, 384, 512)
# Where the two blocks of conv2, conv3 and conv4 have instance normalization.
_INSTANCE_NORMS = {
    "none": (("none", "none"), ("none", "none"), ("none", "none")),
    "ibn": (("after", "after"), ("none", "none"), ("none", "none")),
    "ain": (("inside", "inside"), ("none", "inside"), ("inside", "none")),
}


class ConvNorm(nn.Module):
    """Convolution without bias, batch (or instance) normalization and, unless `activate` is false, ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        activate: bool = True,
        instance_norm: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.bn = _instance_norm(out_channels) if instance_norm else nn.BatchNorm2d(out_channels)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, out_channels, h / stride, w / stride)."""
        x = self.bn(self.conv(x))
        return x.relu_() if self.activate else x


class LiteConv3x3(nn.Module):
    """A 3x3 convolution in two factors: pointwise, then depthwise (section 3.1).

    There is no activation between the two; BatchNorm and ReLU follow once.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        return self.bn(self.conv2(self.conv1(x))).relu_()


class AggregationGate(nn.Module):
    """Weight of every channel of a stream, from the stream's global average (equation 4)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to weights (B, C, 1, 1) in (0, 1)."""
        average = x.mean((2, 3), keepdim=True)
        return self.fc2(self.fc1(average).relu()).sigmoid()


class OmniScaleBlock(nn.Module):
    """Residual bottleneck of four streams that see 3, 5, 7 and 9 pixels (figure 4b).

    The streams have 1 to 4 lite 3x3 layers. One gate, shared by all, weighs their channels before they are
    added (equation 3): that is the unified aggregation gate.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        instance_norm: Where instance normalization stands: `none`; `inside` the residual branch, in place of its last
            batch normalization; or `after` the sum (Zhou et al., TPAMI 2021, figure 5).
    """

    def __init__(self, in_channels: int, out_channels: int, instance_norm: str = "none") -> None:
        super().__init__()
        middle = out_channels // 4
        self.conv1 = ConvNorm(in_channels, middle, 1)
        self.conv2a = LiteConv3x3(middle)
        self.conv2b = nn.Sequential(*(LiteConv3x3(middle) for _ in range(2)))
        self.conv2c = nn.Sequential(*(LiteConv3x3(middle) for _ in range(3)))
        self.conv2d = nn.Sequential(*(LiteConv3x3(middle) for _ in range(4)))
        self.gate = AggregationGate(middle)
        self.conv3 = ConvNorm(middle, out_channels, 1, activate=False)
        self.instance_norm = instance_norm
        if instance_norm == "inside":
            self.conv3.bn = nn.Identity()
        if instance_norm != "none":
            self.IN = _instance_norm(out_channels)
        self.downsample = (
            ConvNorm(in_channels, out_channels, 1, activate=False) if in_channels != out_channels else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, out_channels, h, w)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.conv1(x)
        first = self.conv2a(x)
        fused = first * self.gate(first)
        for stream in (self.conv2b, self.conv2c, self.conv2d):
            scale = stream(x)
            fused = torch.addcmul(fused, scale, self.gate(scale))
        x = self.conv3(fused)
        if self.instance_norm == "inside":
            x = self.IN(x)
        x = x.add_(shortcut)
        return (self.IN(x) if self.instance_norm == "after" else x).relu_()


class OSNet(nn.Module):
    """OSNet up to its last feature map (table 1), 1/16 of the image's height and width.

    The paper's 512-dimensional fully connected layer is the neck's work: `neck=linear neck.out_features=512`.

    Args:
        width: Factor on all channel numbers (1.0, 0.75, 0.5 or 0.25 in the paper).
        instance_norm: `none`; `ibn`: in the stem and after the first two blocks; `ain`: in the stem and inside four of
            the six blocks, at the places that the authors' search has found (Zhou et al., TPAMI 2021, table 2).

    Examples:
        >>> network = OSNet(width=0.25)
        >>> network(torch.zeros(2, 3, 64, 32)).shape, network.out_channels
        (torch.Size([2, 128, 4, 2]), 128)
    """

    def __init__(self, width: float = 1.0, instance_norm: str = "none") -> None:
        super().__init__()
        if instance_norm not in _INSTANCE_NORMS:
            raise ValueError(
                f"instance_norm must be one of {', '.join(_INSTANCE_NORMS)}, got {instance_norm}"
            )
        places = _INSTANCE_NORMS[instance_norm]
        first, second, third, last = (round(channels * width) for channels in _CHANNELS)
        self.conv1 = ConvNorm(3, first, 7, stride=2, instance_norm=instance_norm != "none")
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = _stage(first, second, places[0], halve=True)
        self.conv3 = _stage(second, third, places[1], halve=True)
        self.conv4 = _stage(third, last, places[2], halve=False)
        self.conv5 = ConvNorm(last, last, 1)
        self.out_channels = last
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to (B, out_channels, H / 16, W / 16)."""
        x = self.maxpool(self.conv1(x))
        return self.conv5(self.conv4(self.conv3(self.conv2(x))))


def _instance_norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)


def _stage(in_channels: int, out_channels: int, places: tuple[str, str], halve: bool) -> nn.Sequential:
    blocks: list[nn.Module] = [
        OmniScaleBlock(in_channels, out_channels, places[0]),
        OmniScaleBlock(out_channels, out_channels, places[1]),
    ]
    if halve:
        blocks.append(nn.Sequential(ConvNorm(out_channels, out_channels, 1), nn.AvgPool2d(2)))
    return nn.Sequential(*blocks)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
