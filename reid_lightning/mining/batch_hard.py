"""Batch-hard mining: for each anchor its farthest positive and nearest negative."""

import torch
from torch import Tensor, nn

from reid_lightning.distances import pairwise_distances


class BatchHardMiner(nn.Module):
    """One triplet per anchor: the hardest positive and the hardest negative of the batch (Hermans et al. 2017, eq. 5).

    Hardest by Euclidean distance; on unit vectors cosine orders alike. An anchor without a positive or without a
    negative gives no triplet.

    Example:
        >>> embeddings, labels = torch.tensor([[0.0], [1.0], [3.0], [4.0]]), torch.tensor([0, 0, 0, 1])
        >>> [indices.tolist() for indices in BatchHardMiner()(embeddings, labels)]
        [[0, 1, 2], [2, 2, 0], [3, 3, 3]]
    """

    @torch.no_grad()
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return anchors, positives and negatives, (T,) int64 each, of (N, D) embeddings and (N,) labels."""
        distances = pairwise_distances(embeddings, metric="sqeuclidean")
        same = labels[:, None] == labels[None, :]
        positives = same.clone().fill_diagonal_(False)
        farthest = distances.masked_fill(~positives, -1).argmax(dim=1)
        nearest = distances.masked_fill(same, torch.inf).argmin(dim=1)
        anchors = (positives.any(dim=1) & ~same.all(dim=1)).nonzero().flatten()
        return anchors, farthest[anchors], nearest[anchors]
