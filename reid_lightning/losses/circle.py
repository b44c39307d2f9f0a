"""Circle loss: similarities weighted by how far each is from its optimum."""

import torch
from torch import Tensor
from torch.nn import functional

from reid_lightning.distances import pairwise_distances
from reid_lightning.errors import require
from reid_lightning.losses.pairs import Indices, pair_diagnostics, pair_masks, refuse_indices
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss


class CircleLoss(MetricLoss):
    """Circle loss on cosine similarities (Sun et al. 2020, eq. 4-8).

    An anchor costs `ln(1 + sum_n exp(g a_n (s_n - m)) * sum_p exp(-g a_p (s_p - 1 + m)))` with the weights
    `a_n = max(s_n + m, 0)` and `a_p = max(1 + m - s_p, 0)`, which get no gradient, as in the paper's implementation.
    Averaged over anchors that have a positive and a negative.

    Args:
        margin: The relaxation m, between 0 and 1; the paper takes 0.25 for person re-identification.
        gamma: The scale g; the paper takes 128.

    Raises:
        ValueError: The margin is outside (0, 1) or gamma not positive.

    Examples:
        >>> embeddings, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]), torch.tensor([0, 0, 1])
        >>> CircleLoss()(embeddings, labels) < 1e-3  # together, and opposite
        tensor(True)
    """

    spec = LossSpec(forms_own_pairs=True)

    def __init__(self, margin: float = 0.25, gamma: float = 128.0) -> None:
        super().__init__()
        require(0 < margin < 1, "margin", "between 0 and 1", margin)
        require(gamma > 0, "gamma", "> 0", gamma)
        self.margin, self.gamma = margin, gamma

    def output(self, embeddings: Tensor, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return the loss of (N, D) embeddings and (N,) labels; indices are refused."""
        refuse_indices(self, indices_tuple)
        distances = pairwise_distances(embeddings, distance="cosine")
        positives, negatives = pair_masks(labels)
        count = (positives.any(dim=1) & negatives.any(dim=1)).sum().clamp(min=1)
        similarity = 1 - distances
        weights = torch.relu(1 + self.margin - similarity.detach())
        pull = -self.gamma * weights * (similarity - 1 + self.margin)
        weights = torch.relu(similarity.detach() + self.margin)
        push = self.gamma * weights * (similarity - self.margin)
        # Without a positive or a negative the exponent is so low that the anchor costs nothing, and its slope is zero.
        lowest = torch.finfo(distances.dtype).min
        exponents = pull.masked_fill(~positives, lowest).logsumexp(dim=1)
        exponents = exponents + push.masked_fill(~negatives, lowest).logsumexp(dim=1)
        active = (exponents.detach() > 0).sum() / count  # not yet on the right side
        diagnostics = pair_diagnostics(distances, positives, negatives, active, embeddings)
        return LossOutput(functional.softplus(exponents).sum() / count, diagnostics)
