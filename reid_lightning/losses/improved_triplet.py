"""Improved triplet loss: the triplet loss, and a bound on the distance to the positive itself."""

import torch
from torch import Tensor

from reid_lightning.distances import unit_vectors
from reid_lightning.errors import require
from reid_lightning.losses.pairs import Indices
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss
from reid_lightning.losses.triplet import hinge
from reid_lightning.losses.triplet_costs import mean_triplet_cost


class ImprovedTripletLoss(MetricLoss):
    """Improved triplet loss (Cheng et al. 2016, "Multi-Channel Parts-Based CNN with Improved Triplet Loss", eq. 3).

    A triplet costs `max(d(a,p) - d(a,n) + margin, 0) + beta * max(d(a,p) - bound, 0)`: the triplet loss alone is
    content when a person's images are far apart, as long as other people are farther. The paper's `tau1` is
    `-margin`, its `tau2` is `bound`, and its two maxima differ from these by constants.

    Args:
        margin: Smallest wanted gap of the two distances, in their unit.
        bound: Largest wanted distance to the positive, in the same unit.
        beta: Weight of the bound beside the gap.
        squared: Squared Euclidean distances, as in the paper.
        normalize: Scale embeddings to length 1 first; miners then see unit vectors too.

    Raises:
        ValueError: A setting is negative.

    Examples:
        >>> embeddings, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
        >>> loss = ImprovedTripletLoss(margin=0.5, bound=0.2, beta=0.5, squared=False, normalize=False)
        >>> loss(embeddings, labels)  # the triplet loss is 0.5; both positives are 0.8 too far
        tensor(0.9000)
    """

    spec = LossSpec(of_triplets=True, takes_padding=True)

    def __init__(
        self,
        margin: float = 1.0,
        bound: float = 0.01,
        beta: float = 0.002,
        squared: bool = True,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        require(margin >= 0, "margin", ">= 0", margin)
        self.margin = margin
        require(bound >= 0, "bound", ">= 0", bound)
        self.bound = bound
        require(beta >= 0, "beta", ">= 0", beta)
        self.beta = beta
        self.squared, self.normalize = squared, normalize

    def output(self, embeddings: Tensor, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return the loss of (N, D) embeddings and (N,) labels; None stands for all valid triplets."""
        if self.normalize:
            embeddings = unit_vectors(embeddings)
        loss, diagnostics = mean_triplet_cost(embeddings, labels, indices_tuple, self._cost, self.squared)
        return LossOutput(loss, diagnostics)

    def _cost(self, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        costs, pull, push = hinge(positive - negative + self.margin)
        excess = positive - self.bound
        return costs + self.beta * torch.relu(excess), pull + self.beta * (excess > 0), push
