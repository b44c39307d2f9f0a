"""Centroid triplet loss: nearer to the centroid of one's own other images than to another person's centroid."""

import torch
from torch import Tensor

from reid_lightning.distances import pairwise_distances, unit_vectors
from reid_lightning.errors import require
from reid_lightning.losses.pairs import Indices, mean_norm, refuse_indices
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss


class CentroidTripletLoss(MetricLoss):
    """Centroid triplet loss (Wieczorek et al. 2021, "On the Unreasonable Effectiveness of Centroids", eq. 2).

    An anchor costs `max(d(a, c_p) - d(a, c_n) + margin, 0)`: `c_p` is the mean of the anchor's identity in the batch
    without the anchor itself, `c_n` the nearest centroid of another identity. Averaged over the anchors that have
    another image and another identity in the batch.

    Args:
        margin: Smallest wanted gap of the two distances, in their unit.
        squared: Squared Euclidean distances, as in the paper's equation.
        normalize: Scale embeddings to length 1 before the centroids are taken.

    Raises:
        ValueError: The margin is negative.

    Examples:
        >>> embeddings, labels = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([0, 0, 1])
        >>> CentroidTripletLoss(margin=0.5, squared=False)(embeddings, labels)  # 1 - 2 + 0.5 and 1 - 1 + 0.5
        tensor(0.2500)
    """

    spec = LossSpec(of_triplets=True, forms_own_pairs=True)

    def __init__(self, margin: float = 0.3, squared: bool = True, normalize: bool = False) -> None:
        super().__init__()
        require(margin >= 0, "margin", ">= 0", margin)
        self.margin = margin
        self.squared, self.normalize = squared, normalize

    def output(self, embeddings: Tensor, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return the loss of (N, D) embeddings and (N,) labels; indices are refused."""
        refuse_indices(self, indices_tuple)
        if self.normalize:
            embeddings = unit_vectors(embeddings)
        same = labels[:, None] == labels
        counts = same.sum(dim=1)
        # Each identity has its place at its first image, so that the device need not tell how many there are.
        place = same.int().argmax(dim=1)
        taken = place == torch.arange(len(labels), device=labels.device)
        sums = torch.zeros_like(embeddings).index_add(0, place, embeddings)
        centroids = sums / counts[:, None]
        with torch.no_grad():
            distances = pairwise_distances(embeddings, centroids, distance="sqeuclidean")
            nearest = torch.where(same | ~taken, torch.inf, distances).argmin(dim=1)
        rest = (sums[place] - embeddings) / (counts - 1).clamp(min=1)[:, None]
        positive, negative = (
            self._distances(embeddings, rest),
            self._distances(embeddings, centroids[nearest]),
        )
        anchors = (counts > 1) & (counts < len(labels))
        count = anchors.sum().clamp(min=1)
        costs = torch.where(anchors, torch.relu(positive - negative + self.margin), 0)
        diagnostics = {
            "active_fraction": costs.detach().count_nonzero() / count,
            "mean_ap_distance": (positive.detach() * anchors).sum() / count,
            "mean_an_distance": (negative.detach() * anchors).sum() / count,
            "embedding_norm": mean_norm(embeddings),
        }
        return LossOutput(costs.sum() / count, diagnostics)

    def _distances(self, x: Tensor, y: Tensor) -> Tensor:
        differences = x - y
        if self.squared:
            return differences.square().sum(dim=1)
        distances: Tensor = torch.linalg.vector_norm(differences, dim=1)  # slope zero at zero
        return distances
