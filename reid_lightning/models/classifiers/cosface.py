"""CosFace: the true identity must win by a margin of the cosine."""

from torch import Tensor

from reid_lightning.errors import require
from reid_lightning.models.classifiers.angles import with_target
from reid_lightning.models.classifiers.margin import MarginClassifier


class CosFaceClassifier(MarginClassifier):
    """Large margin cosine classifier (Wang et al. 2018, "CosFace", eq. 4).

    A logit is `s cos(theta)` of unit vectors; in training the true identity's becomes `s (cos(theta) - m)`.

    Args:
        in_features: Dimensions of `Features.classifier`.
        num_classes: Training identities.
        scale: s.
        margin: m, difference of cosines, in [0, 2).
        label_smoothing: Fraction of the target spread over the other identities.

    Raises:
        ValueError: The scale is not positive or the margin outside [0, 2).

    Examples:
        >>> import torch
        >>> classifier = CosFaceClassifier(in_features=2, num_classes=2, scale=10.0, margin=0.25)
        >>> with torch.no_grad():
        ...     _ = classifier.weight.copy_(torch.eye(2))
        >>> classifier(torch.tensor([[3.0, 0.0]]), labels=torch.tensor([0])).tolist()
        [[7.5, 0.0]]
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
        require(0 <= margin < 2, "margin", "in [0, 2)", margin)

    def with_margin(self, cosine: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """Return the (B, num_classes) cosines, those of the true identities less the margin."""
        return with_target(cosine, labels, target - self.margin)
