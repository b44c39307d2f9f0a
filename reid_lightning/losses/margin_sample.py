"""Margin sample mining loss: one term a batch, its worst positive pair against its worst negative pair."""

import torch
from torch import Tensor

from reid_lightning.distances import pairwise_distances, unit_vectors
from reid_lightning.errors import require
from reid_lightning.losses.pairs import Indices, mean_norm, pair_masks, refuse_indices
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss


class MarginSampleLoss(MetricLoss):
    """Margin sample mining loss (Xiao et al. 2017, "Margin Sample Mining Loss", eq. 9).

    The batch costs `max(largest d(a,p) - smallest d(b,c) + margin, 0)`: the farthest pair of one person anywhere in
    the batch against the nearest pair of two people, which need not share an image. Two pairs get a gradient.

    Args:
        margin: Smallest wanted gap of the two Euclidean distances.
        normalize: Scale embeddings to length 1 first.

    Raises:
        ValueError: The margin is negative.

    Examples:
        >>> embeddings, labels = torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 1])
        >>> MarginSampleLoss(margin=0.5)(embeddings, labels)  # 4 - 2 + 0.5
        tensor(2.5000)
    """

    spec = LossSpec(of_triplets=True, forms_own_pairs=True)

    def __init__(self, margin: float = 0.3, normalize: bool = False) -> None:
        super().__init__()
        require(margin >= 0, "margin", ">= 0", margin)
        self.margin, self.normalize = margin, normalize

    def output(self, embeddings: Tensor, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return the loss of (N, D) embeddings and (N,) labels; indices are refused."""
        refuse_indices(self, indices_tuple)
        if self.normalize:
            embeddings = unit_vectors(embeddings)
        positives, negatives = pair_masks(labels)
        with torch.no_grad():
            distances = pairwise_distances(embeddings, distance="sqeuclidean")
            farthest = torch.where(positives, distances, -torch.inf).argmax()
            nearest = torch.where(negatives, distances, torch.inf).argmin()
            ends = torch.stack((farthest, nearest))
        differences = embeddings[ends // len(labels)] - embeddings[ends % len(labels)]
        both = torch.linalg.vector_norm(differences, dim=1)  # slope zero at zero
        cost = torch.relu(both[0] - both[1] + self.margin)
        cost = torch.where(positives.any() & negatives.any(), cost, 0)
        diagnostics = {
            "active_fraction": (cost.detach() > 0).to(cost.dtype),
            "mean_ap_distance": both[0].detach(),
            "mean_an_distance": both[1].detach(),
            "embedding_norm": mean_norm(embeddings),
        }
        return LossOutput(cost, diagnostics)
