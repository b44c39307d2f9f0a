"""Batch-hard mining: for each anchor its farthest positive and nearest negative."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from reid_lightning.distances import exact_products, promote
from reid_lightning.losses.pairs import TripletPerImage


class Across(NamedTuple):
    """Triplets of a batch's images, each with one positive and one negative of other vectors."""

    positives: Tensor
    """(N,) places among the others."""
    negatives: Tensor
    """(N,) likewise."""
    there: Tensor
    """(N,) whether the anchor has both."""


class BatchHardMiner(nn.Module):
    """One triplet per anchor: the hardest positive and the hardest negative of the batch (Hermans et al. 2017, eq. 5).

    Hardest by Euclidean distance; on unit vectors cosine orders alike. An anchor without a positive or without a
    negative gives no triplet.

    Examples:
        >>> embeddings, labels = torch.tensor([[0.0], [1.0], [3.0], [4.0]]), torch.tensor([0, 0, 0, 1])
        >>> [indices.tolist() for indices in BatchHardMiner()(embeddings, labels)]
        [[0, 1, 2], [2, 2, 0], [3, 3, 3]]
    """

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return anchors, positives and negatives, (T,) int64 each, of (N, D) embeddings and (N,) labels."""
        anchors, positives, negatives = self.padded(embeddings, labels)
        kept = (positives != anchors).nonzero().flatten()
        return kept, positives.index_select(0, kept), negatives.index_select(0, kept)

    @torch.no_grad()
    def padded(self, embeddings: Tensor, labels: Tensor) -> TripletPerImage:
        """Return a triplet for every anchor, (N,) each; one without names itself as its positive and its negative.

        How many triplets there are is known to the device alone. A loss with `takes_padding` need not ask it.

        Examples:
            >>> embeddings, labels = torch.tensor([[0.0], [1.0], [3.0], [4.0]]), torch.tensor([0, 0, 0, 1])
            >>> [indices.tolist() for indices in BatchHardMiner().padded(embeddings, labels)]
            [[0, 1, 2, 3], [2, 2, 0, 3], [3, 3, 3, 3]]
        """
        order = distance_order(embeddings)
        same = labels.unsqueeze(1) == labels
        far, nearest = order.masked_fill(same, torch.inf).min(dim=1)
        other = same.fill_diagonal_(False).logical_not_()
        near, farthest = order.masked_fill_(other, -torch.inf).max(dim=1)
        anchors = torch.arange(len(labels), device=labels.device)
        missing = (near - far).isneginf()
        return TripletPerImage(
            anchors, torch.where(missing, anchors, farthest), torch.where(missing, anchors, nearest)
        )

    @torch.no_grad()
    def across(self, embeddings: Tensor, labels: Tensor, others: Tensor, other_labels: Tensor) -> Across:
        """Return for each anchor its farthest positive and its nearest negative among other vectors.

        Args:
            embeddings: (N, D).
            labels: (N,).
            others: (M, D).
            other_labels: (M,), -1 where there is no vector.

        Examples:
            >>> found = BatchHardMiner().across(
            ...     torch.tensor([[0.0]]), torch.tensor([0]), torch.tensor([[1.0], [2.0], [9.0]]), torch.tensor([0, 0, 1])
            ... )
            >>> found.positives.tolist(), found.negatives.tolist(), found.there.tolist()
            ([1], [2], [True])
        """
        order = order_across(embeddings, others)
        same = labels[:, None] == other_labels
        nearest = torch.where(same | (other_labels < 0), torch.inf, order).min(dim=1)
        farthest = torch.where(same, order, -torch.inf).max(dim=1)
        there = (nearest.values != torch.inf) & (farthest.values != -torch.inf)
        return Across(farthest.indices, nearest.indices, there)


def order_across(embeddings: Tensor, others: Tensor) -> Tensor:
    """Return an (N, M) matrix whose rows are ordered as the Euclidean distances to other vectors.

    Examples:
        >>> order_across(torch.tensor([[5.0]]), torch.tensor([[5.0], [7.0], [9.0]]))  # as 0, 2 and 4
        tensor([[ 0.,  4., 16.]])
    """
    embeddings, others = promote(embeddings), promote(others)
    center = embeddings[:1]  # changes no distance, and keeps the digits of embeddings close together
    embeddings, others = embeddings - center, others - center
    with exact_products(embeddings.device):
        squares = torch.linalg.vector_norm(others, dim=1).square()
        return torch.sub(squares, embeddings @ others.T, alpha=2)


def distance_order(embeddings: Tensor) -> Tensor:
    """Return an (N, N) matrix whose rows are ordered as the Euclidean distances, at the price of one product.

    Row a is `d²(a, b) - |a|²` from the first image: the anchor's own length does not change who is nearer.

    Examples:
        >>> distance_order(torch.tensor([[5.0], [7.0], [9.0]]))  # as 0, 2 and 4
        tensor([[  0.,   4.,  16.],
                [  0.,  -4.,   0.],
                [  0., -12., -16.]])
    """
    shifted = promote(embeddings)
    shifted = shifted - shifted[:1]  # changes no distance, and keeps the digits of embeddings close together
    with exact_products(shifted.device):
        products = shifted @ shifted.T
    return torch.sub(products.diagonal(), products, alpha=2)
