"""What triplet losses share: distances of mined triplets, and all valid triplets without listing them."""

from typing import NamedTuple

import torch
from torch import Tensor

from reid_lightning.distances import pairwise_distances

Indices = tuple[Tensor, Tensor, Tensor]


class TripletDistances(NamedTuple):
    """Distances of T triplets, or of M (anchor, positive) pairs against all N images of the batch."""

    positive: Tensor
    """(T,) or (M, 1) anchor to positive."""
    negative: Tensor
    """(T,) or (M, N) anchor to negative."""
    valid: Tensor | None
    """(M, N) whether column n is a negative of pair m; None: all are."""

    def mean(self, costs: Tensor, active_only: bool = False) -> Tensor:
        """Average costs over the valid triplets, or over those above zero; without any, a zero with a gradient."""
        if self.valid is not None:
            costs = torch.where(self.valid, costs, 0)
        if active_only:
            return costs.sum() / (costs.detach() > 0).sum().clamp(min=1)
        if self.valid is not None:
            return costs.sum() / self.valid.sum().clamp(min=1)
        return costs.sum() / max(1, costs.numel())

    def diagnostics(self, costs: Tensor, embeddings: Tensor) -> dict[str, Tensor]:
        """Return detached scalars that show collapse: share of triplets that cost, distances, norm."""
        valid = torch.ones_like(costs, dtype=torch.bool) if self.valid is None else self.valid
        count = valid.sum().clamp(min=1)
        negative = torch.where(valid, self.negative, 0).sum() / count
        return {
            "active_fraction": ((costs.detach() > 0) & valid).sum() / count,
            "mean_ap_distance": self.positive.detach().sum() / max(1, self.positive.numel()),
            "mean_an_distance": negative.detach(),
            "embedding_norm": embeddings.detach().norm(dim=1).mean(),
        }


def triplet_distances(
    embeddings: Tensor, labels: Tensor, indices_tuple: Indices | None, squared: bool = False
) -> TripletDistances:
    """Return the distances of given triplets, or of all valid ones.

    All valid triplets take (anchor-positive pairs) x N numbers, not N cubed.

    Args:
        embeddings: (N, D).
        labels: (N,).
        indices_tuple: Anchors, positives and negatives, (T,) each; None for all valid triplets.
        squared: Squared Euclidean distances.
    """
    if indices_tuple is not None:
        anchors, positives, negatives = indices_tuple
        anchor = embeddings[anchors]
        return TripletDistances(
            paired_distances(anchor, embeddings[positives], squared),
            paired_distances(anchor, embeddings[negatives], squared),
            None,
        )
    distances = pairwise_distances(embeddings, metric="sqeuclidean" if squared else "euclidean")
    same = labels[:, None] == labels[None, :]
    anchors, positives = same.clone().fill_diagonal_(False).nonzero(as_tuple=True)
    return TripletDistances(distances[anchors, positives][:, None], distances[anchors], ~same[anchors])


def paired_distances(x: Tensor, y: Tensor, squared: bool = False) -> Tensor:
    """Return (T,) Euclidean distances of rows; zero slope where two vectors coincide.

    Example:
        >>> paired_distances(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[3.0, 4.0], [1.0, 1.0]]))
        tensor([5., 0.])
    """
    distances = (x - y).square().sum(dim=1)
    if squared:
        return distances
    apart = distances > 0
    return torch.where(apart, torch.where(apart, distances, 1).sqrt(), 0)
