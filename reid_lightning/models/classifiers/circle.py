"""Circle classifier: every cosine is pulled as strongly as it is far from where it should be."""

from torch import Tensor

from reid_lightning.errors import require
from reid_lightning.models.classifiers.angles import with_target
from reid_lightning.models.classifiers.margin import MarginClassifier


class CircleClassifier(MarginClassifier):
    """Circle loss with class labels (Sun et al. 2020, "Circle Loss", eq. 6 and 8).

    In training the true identity's logit is `s [1 + m - cos]+ (cos - 1 + m)` and every other one's is
    `s [cos + m]+ (cos - m)`, where the brackets are weights without a gradient; else a logit is `s cos`. Their
    cross-entropy is the loss.

    Args:
        in_features: Dimensions of `Features.classifier`.
        num_classes: Training identities.
        scale: s, gamma in the paper.
        margin: m, relaxation of the cosines, in [0, 1].
        label_smoothing: Fraction of the target spread over the other identities.

    Raises:
        ValueError: The scale is not positive or the margin outside [0, 1].

    Examples:
        >>> import torch
        >>> classifier = CircleClassifier(in_features=2, num_classes=2, scale=10.0, margin=0.5)
        >>> with torch.no_grad():
        ...     _ = classifier.weight.copy_(torch.eye(2))
        >>> classifier(torch.tensor([[3.0, 0.0]]), labels=torch.tensor([0])).tolist()  # 10 * 0.5 * 0.5, 10 * 0.5 * -0.5
        [[2.5, -2.5]]
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        scale: float = 64.0,
        margin: float = 0.35,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(in_features, num_classes, scale, margin, label_smoothing)
        require(0 <= margin <= 1, "margin", "in [0, 1]", margin)

    def with_margin(self, cosine: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """Return the (B, num_classes) weighted distances of the cosines from where they should be."""
        pulled = (1 + self.margin - target.detach()).clamp(min=0) * (target - 1 + self.margin)
        pushed = (cosine.detach() + self.margin).clamp(min=0) * (cosine - self.margin)
        return with_target(pushed, labels, pulled)
