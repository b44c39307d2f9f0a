"""From a feature map to one vector per image."""

from typing import ClassVar

import torch
from torch import Tensor, nn

NO_TOKEN = (
    "pooling=token reads a class token, and this backbone gives none: only transformers such as backbone=timm "
    "backbone.name=vit_base_patch16_224 have one, without backbone.stages; choose pooling=avg, gem or max"
)


class AveragePooling(nn.Module):
    """Mean over all positions."""

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C), in float32 if the map is of a half type: a mean has more digits than its terms."""
        half = features.dtype in (torch.float16, torch.bfloat16)
        return features.mean((2, 3), dtype=torch.float32 if half else features.dtype)


class MaxPooling(nn.Module):
    """Largest value over all positions."""

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C)."""
        return features.amax((2, 3))


class GeMPooling(nn.Module):
    """Generalized mean, `(mean of x^p)^(1/p)` (Radenovic et al. 2018, eq. 3); p = 1 averages, a large p takes the maximum.

    Args:
        p: Exponent, at least 1.
        learn_p: Whether training changes p.
        eps: Values are clamped to this from below, because roots of negative numbers do not exist.

    Raises:
        ValueError: p is below 1.
    """

    def __init__(self, p: float = 3.0, learn_p: bool = True, eps: float = 1e-6) -> None:
        super().__init__()
        if p < 1:
            raise ValueError(f"p must be >= 1, got {p}")
        self.p = nn.Parameter(torch.tensor(float(p)), requires_grad=learn_p)
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C), in float32 under autocast: powers overflow half types."""
        with torch.autocast(features.device.type, enabled=False):
            features = features if features.dtype == torch.float64 else features.float()
            return features.clamp(min=self.eps).pow(self.p).mean((2, 3)).pow(1 / self.p)


class TokenPooling(nn.Module):
    """The class token of a transformer in place of a pooled map (Dosovitskiy et al. 2021, eq. 4)."""

    reads_token: ClassVar[bool] = True

    def forward(self, token: Tensor) -> Tensor:
        """Return the (B, C) class token, which the backbone has normalized."""
        return token
