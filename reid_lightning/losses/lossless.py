"""Lossless triplet loss: easy triplets still teach."""

from torch import Tensor

from reid_lightning.distances import unit_vectors
from reid_lightning.errors import require
from reid_lightning.losses.pairs import Indices
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss
from reid_lightning.losses.triplet_costs import mean_triplet_cost

LARGEST = 4.0  # squared Euclidean distance of two opposite unit vectors


class LosslessTripletLoss(MetricLoss):
    """Lossless triplet loss (Arsenault 2018, as used in "Triplet Deep Learning Encoder", FH Kiel 2020).

    On unit vectors a triplet costs `-ln(1 - d²(a,p) / beta + eps) - ln(1 - (D - d²(a,n)) / beta + eps)` with D = 4,
    the largest squared distance. It is never zero, which is its point. Averaged over triplets, so that its weight
    beside other terms does not depend on the batch (the thesis sums).

    Args:
        beta: Scale, at least D = 4, which keeps the arguments of the logarithms positive.
        eps: Against ln 0; at least 1e-6 in float32.

    Raises:
        ValueError: beta is below 4 or eps too small for float32.

    Examples:
        >>> import torch
        >>> embeddings, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]), torch.tensor([0, 0, 1])
        >>> LosslessTripletLoss()(embeddings, labels).abs() < 1e-5  # the best there is: together, and opposite
        tensor(True)
    """

    spec = LossSpec(of_triplets=True, takes_padding=True)
    normalize = True
    squared = True

    def __init__(self, beta: float = 4.0, eps: float = 1e-6) -> None:
        super().__init__()
        require(
            beta >= LARGEST, "beta", f">= {LARGEST:g}", beta
        )  # below, the logarithm's argument can be negative
        self.beta = beta
        require(eps >= 1e-6, "eps", ">= 1e-6", eps)  # below, it vanishes in float32 beside 1
        self.eps = eps

    def output(self, embeddings: Tensor, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return the loss of (N, D) embeddings and (N,) labels; None stands for all valid triplets."""
        loss, diagnostics = mean_triplet_cost(
            unit_vectors(embeddings), labels, indices_tuple, self._cost, squared=True
        )
        return LossOutput(loss, diagnostics)

    def pull(self, squared: Tensor) -> tuple[Tensor, Tensor]:
        """Return what squared distances to positives cost, and the slopes, element by element."""
        argument = 1 + self.eps - squared.clamp(0, LARGEST) / self.beta
        return -argument.log(), 1 / (self.beta * argument)

    def push(self, squared: Tensor) -> tuple[Tensor, Tensor]:
        """Return what squared distances to negatives cost, and the slopes, element by element."""
        argument = 1 + self.eps - (LARGEST - squared.clamp(0, LARGEST)) / self.beta
        return -argument.log(), -1 / (self.beta * argument)

    def _cost(self, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (near, near_slope), (far, far_slope) = self.pull(positive), self.push(negative)
        costs = near + far
        return costs, near_slope.expand_as(costs), far_slope
