"""What classifiers with a margin on scaled cosines share: all but what becomes of the cosines in training."""

import torch
from torch import Tensor, nn

from reid_lightning.errors import require
from reid_lightning.models.classifiers.angles import cosines


class MarginClassifier(nn.Module):
    """Logits `s cos(theta)` of unit features and unit weights, with a margin in training.

    A subclass says in `with_margin` what becomes of the cosines where labels are given.

    Args:
        in_features: Dimensions of `Features.classifier`.
        num_classes: Training identities.
        scale: s.
        margin: m, in the subclass's unit and range.
        label_smoothing: Fraction of the target spread over the other identities.

    Raises:
        ValueError: The scale is not positive.
    """

    def __init__(
        self, in_features: int, num_classes: int, scale: float, margin: float, label_smoothing: float
    ) -> None:
        super().__init__()
        require(scale > 0, "scale", "> 0", scale)
        self.scale, self.margin, self.label_smoothing = scale, margin, label_smoothing
        self.weight = nn.Parameter(torch.empty(num_classes, in_features))
        nn.init.xavier_normal_(self.weight)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (B, num_classes) logits of (B, in_features) features, with the margin when labels are given."""
        cosine = cosines(features, self.weight)
        if labels is None:
            return self.scale * cosine
        with torch.autocast(cosine.device.type, enabled=False):
            target = cosine.gather(1, labels[:, None]).flatten()
            return self.scale * self.with_margin(cosine, target, labels)

    def with_margin(self, cosine: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """Return what is scaled in training.

        Args:
            cosine: (B, num_classes).
            target: (B,), those of the true identities.
            labels: (B,).
        """
        raise NotImplementedError
