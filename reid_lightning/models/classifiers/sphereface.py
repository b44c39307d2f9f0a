"""SphereFace: L-Softmax with identities of equal length, so that only the angle decides."""

from torch import Tensor

from reid_lightning.models.classifiers.large_margin_softmax import LargeMarginSoftmaxClassifier


class SphereFaceClassifier(LargeMarginSoftmaxClassifier):
    """A-Softmax, annealed (Liu et al. 2017, "SphereFace", eq. 7).

    A logit is `|x| cos(theta)` (weights have length 1); in training the true identity's becomes `|x| psi(theta)`, where
    psi falls m times as fast as the cosine. The arguments are those of `LargeMarginSoftmaxClassifier`.

    Examples:
        >>> import torch
        >>> classifier = SphereFaceClassifier(in_features=8, num_classes=3)
        >>> classifier(torch.randn(4, 8), labels=torch.tensor([0, 1, 2, 0])).shape
        torch.Size([4, 3])
    """

    def _identity_lengths(self) -> Tensor:
        return self.weight.new_ones(len(self.weight))
