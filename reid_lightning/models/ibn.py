"""IBN-a: instance and batch normalization side by side (Pan et al., "Two at Once", ECCV 2018)."""

from typing import Any

import torch
from torch import Tensor, nn

RELEASE = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0/"
# ImageNet weights by the authors; torchvision's are of networks without instance normalization.
FILES = {
    "resnet18": "resnet18_ibn_a-2f571257.pth",
    "resnet34": "resnet34_ibn_a-94bc1577.pth",
    "resnet50": "resnet50_ibn_a-d9d0bb7b.pth",
    "resnet101": "resnet101_ibn_a-59ea0ac6.pth",
}


class InstanceBatchNorm(nn.Module):
    """Instance normalization of the first half of the channels, batch normalization of the rest (Sec. 3.2).

    What an image's own statistics carry, its light and color, leaves one half; what tells identities apart stays in
    the other. Submodules carry the names of the published weights.

    Args:
        channels: C.

    Examples:
        >>> norm = InstanceBatchNorm(4).eval()
        >>> x = torch.randn(2, 4, 8, 8)
        >>> torch.allclose(norm(x), norm(3 * x + 5), atol=1e-3)
        False
        >>> torch.allclose(norm(x)[:, :2], norm(3 * x + 5)[:, :2], atol=1e-3)
        True
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.instance_channels = channels // 2
        self.IN = nn.InstanceNorm2d(self.instance_channels, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.instance_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        return torch.cat(
            [self.IN(x[:, : self.instance_channels]), self.BN(x[:, self.instance_channels :])], 1
        )


def add_instance_norm(model: Any) -> None:
    """Replace the first normalization of every residual branch of a ResNet's first three stages (IBN-a, figure 3a).

    The last stage keeps batch normalization alone, and with it what is needed to tell classes apart.
    """
    for stage in (model.layer1, model.layer2, model.layer3):
        for block in stage:
            block.bn1 = InstanceBatchNorm(block.bn1.num_features)


def imagenet_weights(name: str) -> dict[str, Tensor]:
    """Return the authors' ImageNet weights of a ResNet with IBN-a, from torch's cache or their release."""
    return torch.hub.load_state_dict_from_url(RELEASE + FILES[name], map_location="cpu", check_hash=True)
