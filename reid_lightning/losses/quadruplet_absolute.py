"""Absolute quadruplet loss: a triplet loss between two absolute bounds, one for either kind of pair."""

import torch
from torch import Tensor

from reid_lightning.distances import unit_vectors
from reid_lightning.errors import require
from reid_lightning.losses.gradients import distance_matrix
from reid_lightning.losses.pairs import Indices, masked_mean, pair_masks, refuse_indices
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss
from reid_lightning.losses.triplet import hinge
from reid_lightning.losses.triplet_costs import mean_cost_of_all


class AbsoluteQuadrupletLoss(MetricLoss):
    """The "what if" of the Megvii slides (Chi Zhang 2018, "Person Identification"), over all tuples of the batch.

    `mean(max(d(a,p) - d(a,n) + margin, 0)) + mean(max(d(a,p) - bound, 0)) + mean(max(margin + bound - d(b,c), 0))`: every
    pair of one person within `bound`, every pair of two people beyond `bound + margin`. Each sum is averaged over
    its own tuples.

    Args:
        margin: alpha of the slides, in units of the Euclidean distance.
        bound: beta of the slides, largest wanted distance within a person.
        normalize: Scale embeddings to length 1 first; without it the bounds depend on the embedding's scale.

    Raises:
        ValueError: A setting is negative.

    Examples:
        >>> embeddings, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
        >>> loss = AbsoluteQuadrupletLoss(margin=0.5, bound=0.8, normalize=False)
        >>> loss(embeddings, labels)  # triplets 0.5; the positive pair 0.2 too far; the nearer negative 0.8 too near
        tensor(1.1000)
    """

    spec = LossSpec(of_triplets=True, forms_own_pairs=True)

    def __init__(self, margin: float = 0.3, bound: float = 0.7, normalize: bool = True) -> None:
        super().__init__()
        require(margin >= 0, "margin", ">= 0", margin)
        self.margin = margin
        require(bound >= 0, "bound", ">= 0", bound)
        self.bound = bound
        self.normalize = normalize

    def output(self, embeddings: Tensor, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return the loss of (N, D) embeddings and (N,) labels; indices are refused."""
        refuse_indices(self, indices_tuple)
        if self.normalize:
            embeddings = unit_vectors(embeddings)
        distances = distance_matrix(embeddings)
        positives, negatives = pair_masks(labels)
        triplets, diagnostics = mean_cost_of_all(
            distances, labels, lambda near, far: hinge(near - far + self.margin), False, embeddings
        )
        far = masked_mean(torch.relu(distances - self.bound), positives)
        near = masked_mean(torch.relu(self.margin + self.bound - distances), negatives)
        return LossOutput(triplets + far + near, diagnostics)
