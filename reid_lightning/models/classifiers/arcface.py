"""ArcFace: the true identity must win with a margin added to its angle."""

import math

import torch
from torch import Tensor

from reid_lightning.errors import require
from reid_lightning.models.classifiers.angles import with_target
from reid_lightning.models.classifiers.margin import MarginClassifier


class ArcFaceClassifier(MarginClassifier):
    """Additive angular margin classifier (Deng et al. 2019, "ArcFace", eq. 3).

    A logit is `s cos(theta)` of unit vectors; in training the true identity's becomes `s cos(theta + m)`. Beyond
    `theta = pi - m`, where that would rise again, it continues to fall as `s (cos(theta) - m sin(m))`.

    Args:
        in_features: Dimensions of `Features.classifier`.
        num_classes: Training identities.
        scale: s.
        margin: m, radians, in [0, pi / 2].
        label_smoothing: Fraction of the target spread over the other identities.

    Raises:
        ValueError: The scale is not positive or the margin outside [0, pi / 2].

    Examples:
        >>> classifier = ArcFaceClassifier(in_features=2, num_classes=2, scale=10.0, margin=0.5)
        >>> with torch.no_grad():
        ...     _ = classifier.weight.copy_(torch.eye(2))
        >>> classifier(torch.tensor([[0.0, 3.0]]), labels=torch.tensor([0]))  # 10 cos(pi / 2 + 0.5)
        tensor([[-4.7943, 10.0000]], grad_fn=<MulBackward0>)
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        scale: float = 64.0,
        margin: float = 0.5,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(in_features, num_classes, scale, margin, label_smoothing)
        require(0 <= margin <= math.pi / 2, "margin", "radians from 0 to 1.57", margin)

    def with_margin(self, cosine: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """Return the (B, num_classes) cosines with the margin added to the true identities' angles."""
        return with_target(cosine, labels, wider_angle(target, self.margin))


def wider_angle(cosine: Tensor, margin: float) -> Tensor:
    """Return `cos(theta + margin)` of cosines of theta, and its falling continuation beyond `pi - margin`.

    Examples:
        >>> wider_angle(torch.tensor([0.0, -1.0]), margin=0.5)
        tensor([-0.4794, -1.2397])
    """
    # The sine's slope is infinite where vectors are parallel: below its own rounding it is held.
    sine = (1 - cosine.square()).clamp(min=4 * torch.finfo(cosine.dtype).eps).sqrt()
    wider = cosine * math.cos(margin) - sine * math.sin(margin)
    return torch.where(cosine > -math.cos(margin), wider, cosine - margin * math.sin(margin))
