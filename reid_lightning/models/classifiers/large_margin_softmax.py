"""L-Softmax: the true identity must win even with its angle multiplied."""

import torch
from torch import Tensor, nn

from reid_lightning.errors import require
from reid_lightning.models.classifiers.angles import Annealing, cosines, lengths, multiple_angle, with_target


class LargeMarginSoftmaxClassifier(nn.Module):
    """Large-margin softmax, annealed (Liu et al. 2016, "Large-Margin Softmax Loss", eq. 4-6 and Sec. 5.1).

    A logit is `|w| |x| cos(theta)`; in training the true identity's becomes `|w| |x| psi(theta)`, where psi falls m
    times as fast as the cosine.

    Args:
        in_features: Dimensions of `Features.classifier`.
        num_classes: Training identities.
        margin: m, a whole number from 1 (plain softmax) to 4.
        annealing_start: lambda of the first batch.
        annealing_decay: Fall of lambda per batch.
        annealing_minimum: lambda in the end.
        label_smoothing: Fraction of the target spread over the other identities.

    Raises:
        ValueError: The margin is not 1, 2, 3 or 4.

    Examples:
        >>> classifier = LargeMarginSoftmaxClassifier(in_features=8, num_classes=3)
        >>> classifier(torch.randn(4, 8), labels=torch.tensor([0, 1, 2, 0])).shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        margin: int = 4,
        annealing_start: float = 1000.0,
        annealing_decay: float = 0.12,
        annealing_minimum: float = 5.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        require(margin in (1, 2, 3, 4), "margin", "1, 2, 3 or 4", margin)
        self.margin, self.label_smoothing = margin, label_smoothing
        self.weight = nn.Parameter(torch.empty(num_classes, in_features))
        self.annealing = Annealing(annealing_start, annealing_decay, annealing_minimum)
        nn.init.xavier_normal_(self.weight)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (B, num_classes) logits of (B, in_features) features, with the margin when labels are given."""
        cosine, length = cosines(features, self.weight), lengths(features)
        norms = self._identity_lengths()
        logits = length[:, None] * norms * cosine
        if labels is None:
            return logits
        target = cosine.gather(1, labels[:, None]).flatten()
        target = self.annealing(target, multiple_angle(target, self.margin))
        return with_target(logits, labels, length * norms[labels] * target)

    def _identity_lengths(self) -> Tensor:
        return lengths(self.weight)
