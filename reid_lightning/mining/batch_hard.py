"""Batch-hard mining: for each anchor its farthest positive and nearest negative."""

import torch
from torch import Tensor, nn

from reid_lightning.distances import exact_products, promote


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
        order = distance_order(embeddings)
        same = labels[:, None] == labels[None, :]
        nearest = order.masked_fill(same, torch.inf).min(dim=1)
        farthest = order.masked_fill_(~same.fill_diagonal_(False), -torch.inf).max(dim=1)
        anchors = (farthest.values - nearest.values != -torch.inf).nonzero().flatten()
        return anchors, farthest.indices[anchors], nearest.indices[anchors]


def distance_order(embeddings: Tensor) -> Tensor:
    """Return an (N, N) matrix whose rows are ordered as the Euclidean distances, at the price of one product.

    Row a is `d²(a, b) - |a|²`: the anchor's own length does not change which image is nearer.

    Example:
        >>> distance_order(torch.tensor([[-1.0], [1.0], [3.0]]))  # 0, 2 and 4 apart from the first
        tensor([[-4.,  0., 12.],
                [ 4.,  0.,  4.],
                [12.,  0., -4.]])
    """
    centered = promote(embeddings)
    centered = centered - centered.mean(dim=0)  # keeps the digits of embeddings that lie close together
    with exact_products(centered.device):
        return torch.addmm(centered.square().sum(dim=1), centered, centered.T, alpha=-2)
