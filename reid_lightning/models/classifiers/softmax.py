"""Softmax classifier: a linear layer over the training identities."""

from torch import Tensor, nn


class SoftmaxClassifier(nn.Linear):
    """Linear classifier over the training identities (Luo et al. 2019, "Bag of Tricks", Sec. 2.4: without bias).

    Args:
        in_features: Dimensions of `Features.classifier`.
        num_classes: Training identities.
        label_smoothing: Fraction of the target spread over the other identities (Szegedy et al. 2016, Sec. 7).
        bias: Whether logits have a bias.

    Examples:
        >>> import torch
        >>> SoftmaxClassifier(in_features=8, num_classes=3)(torch.randn(4, 8)).shape
        torch.Size([4, 3])
    """

    def __init__(
        self, in_features: int, num_classes: int, label_smoothing: float = 0.1, bias: bool = False
    ) -> None:
        super().__init__(in_features, num_classes, bias=bias)
        self.label_smoothing = label_smoothing
        nn.init.normal_(self.weight, std=0.001)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (B, num_classes) logits of (B, in_features) features; labels change nothing here."""
        return super().forward(features)
