"""Triplet loss: an image is nearer to its own person than to another, by a margin."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from reid_lightning.config.declared import ignores
from reid_lightning.distances import unit_vectors
from reid_lightning.errors import require
from reid_lightning.losses.pairs import Indices
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss
from reid_lightning.losses.triplet_costs import mean_triplet_cost


@ignores("margin", "the soft margin takes its place", soft_margin=True)
class TripletLoss(MetricLoss):
    """Triplet loss over mined or all valid triplets (Schroff et al. 2015, eq. 1; Hermans et al. 2017, eq. 5).

    A triplet costs `max(d(a,p) - d(a,n) + margin, 0)`; with the soft margin `ln(1 + exp(d(a,p) - d(a,n)))`, which
    pulls on however far apart the pairs are.

    Args:
        margin: Smallest wanted gap of the two distances, in their unit; not read when `soft_margin`.
        soft_margin: Softplus in place of the hinge.
        squared: Squared Euclidean distances (FaceNet, Kiel) in place of plain ones (Hermans, BoT).
        normalize: Scale embeddings to length 1 first; miners then see unit vectors too.
        reduction: Average over all triplets ("mean") or over those that cost something ("mean_active").

    Raises:
        ValueError: The margin is negative or the reduction unknown.

    Examples:
        >>> embeddings, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
        >>> TripletLoss(margin=0.5)(embeddings, labels)  # anchor 0: 1 - 1.5 + 0.5; anchor 1: 1 - 0.5 + 0.5
        tensor(0.5000)
    """

    spec = LossSpec(of_triplets=True, takes_padding=True)

    def __init__(
        self,
        margin: float = 0.3,
        soft_margin: bool = False,
        squared: bool = False,
        normalize: bool = False,
        reduction: Literal["mean", "mean_active"] = "mean",
    ) -> None:
        super().__init__()
        require(reduction in ("mean", "mean_active"), "reduction", "mean or mean_active", reduction)
        require(margin >= 0, "margin", ">= 0", margin)
        self.margin = margin
        self.soft_margin, self.squared = soft_margin, squared
        self.normalize, self.reduction = normalize, reduction

    def output(self, embeddings: Tensor, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return the loss of (N, D) embeddings and (N,) labels; None stands for all valid triplets."""
        if self.normalize:
            embeddings = unit_vectors(embeddings)
        loss, diagnostics = mean_triplet_cost(
            embeddings, labels, indices_tuple, self._cost, self.squared, self.reduction == "mean_active"
        )
        return LossOutput(loss, diagnostics)

    def _cost(self, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gaps = positive - negative
        if self.soft_margin:
            slopes = gaps.sigmoid()
            return functional.softplus(gaps), slopes, -slopes
        return hinge(gaps + self.margin)


def hinge(gaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return `max(gap, 0)` and its slopes in the distances to the positive and to the negative.

    Examples:
        >>> hinge(torch.tensor([-1.0, 2.0]))
        (tensor([0., 2.]), tensor([0., 1.]), tensor([-0., -1.]))
    """
    costs = torch.relu(gaps)
    active = costs.sign()
    return costs, active, -active
