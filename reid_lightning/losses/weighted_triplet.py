"""Weighted triplet loss: batch-hard made soft, every pair counts by how hard it is."""

import torch
from torch import Tensor
from torch.nn import functional

from reid_lightning.distances import unit_vectors
from reid_lightning.errors import require
from reid_lightning.losses.gradients import distance_matrix
from reid_lightning.losses.pairs import Indices, pair_diagnostics, pair_masks, refuse_indices
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss


class WeightedTripletLoss(MetricLoss):
    """Weighted ("soft hard") triplet loss (Ristani and Tomasi 2018, "Features for Multi-Target Multi-Camera", eq. 3-4).

    An anchor costs `max(sum_p w_p d(a,p) - sum_n w_n d(a,n) + margin, 0)`, where `w_p` is the softmax of its distances
    to positives and `w_n` the softmax of the negated distances to negatives: far positives and near negatives
    weigh most, and one outlier does not decide alone. Weights are differentiated, too. An anchor without a
    positive or a negative is left out.

    Args:
        margin: Smallest wanted gap of the two means, in the unit of the Euclidean distance; not read when `soft_margin`.
        soft_margin: Softplus in place of the hinge (Ye et al. 2021, AGW).
        normalize: Scale embeddings to length 1 first.

    Raises:
        ValueError: The margin is negative.

    Examples:
        >>> embeddings, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
        >>> WeightedTripletLoss(margin=0.5)(embeddings, labels)  # one positive and one negative each: a triplet loss
        tensor(0.5000)
    """

    spec = LossSpec(of_triplets=True, forms_own_pairs=True)

    def __init__(self, margin: float = 0.3, soft_margin: bool = False, normalize: bool = False) -> None:
        super().__init__()
        require(margin >= 0, "margin", ">= 0", margin)
        self.margin = margin
        self.soft_margin, self.normalize = soft_margin, normalize

    def output(self, embeddings: Tensor, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return the loss of (N, D) embeddings and (N,) labels; indices are refused."""
        refuse_indices(self, indices_tuple)
        if self.normalize:
            embeddings = unit_vectors(embeddings)
        distances = distance_matrix(embeddings)
        positives, negatives = pair_masks(labels)
        anchors = positives.any(dim=1) & negatives.any(dim=1)
        count = anchors.sum().clamp(min=1)
        lowest = torch.finfo(distances.dtype).min  # without any pair all weigh alike, and are left out below
        near = distances.masked_fill(~positives, lowest).softmax(dim=1)
        far = (-distances).masked_fill(~negatives, lowest).softmax(dim=1)
        gaps = ((near - far) * distances).sum(dim=1)
        costs = functional.softplus(gaps) if self.soft_margin else torch.relu(gaps + self.margin)
        costs = torch.where(anchors, costs, 0)
        active = costs.detach().count_nonzero() / count
        diagnostics = pair_diagnostics(distances, positives, negatives, active, embeddings)
        return LossOutput(costs.sum() / count, diagnostics)
