"""What losses over pairs share: distances of mined triplets, and all valid triplets without listing them."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from reid_lightning.distances import pairwise_distances
from reid_lightning.errors import InputError

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
            return costs.sum() / costs.detach().count_nonzero().clamp(min=1)
        if self.valid is not None:
            return costs.sum() / self.valid.sum().clamp(min=1)
        return costs.mean() if len(costs) else costs.sum()

    def diagnostics(self, costs: Tensor, embeddings: Tensor) -> dict[str, Tensor]:
        """Return detached scalars that show collapse: share of triplets that cost, distances, norm."""
        costs, positive, negative = costs.detach(), self.positive.detach(), self.negative.detach()
        if self.valid is None:
            count: Tensor | int = max(1, costs.numel())
        else:
            count = self.valid.sum().clamp(min=1)
            costs, negative = torch.where(self.valid, costs, 0), torch.where(self.valid, negative, 0)
        return {
            "active_fraction": costs.count_nonzero() / count,
            "mean_ap_distance": positive.sum() / max(1, positive.numel()),
            "mean_an_distance": negative.sum() / count,
            "embedding_norm": mean_norm(embeddings),
        }


def triplet_distances(
    embeddings: Tensor, labels: Tensor, indices_tuple: Indices | None, squared: bool = False
) -> TripletDistances:
    """Return the distances of given triplets, or of all valid ones.

    Args:
        embeddings: (N, D).
        labels: (N,).
        indices_tuple: Anchors, positives and negatives, (T,) each; None for all valid triplets.
        squared: Squared Euclidean distances.

    Raises:
        InputError: The indices are not triplets.
    """
    if indices_tuple is None:
        return all_triplets(pairwise_distances(embeddings, metric=euclidean(squared)), labels)
    if len(indices_tuple) != 3:
        raise InputError(
            f"A triplet loss needs anchors, positives and negatives, but the miner gave {len(indices_tuple)} index "
            "tensors; choose a miner of triplets, such as miner=batch_hard."
        )
    anchors, positives, negatives = indices_tuple
    if 8 * len(anchors) > len(embeddings) ** 2:  # so many that the whole matrix is cheaper
        distances = pairwise_distances(embeddings, metric=euclidean(squared))
        return TripletDistances(distances[anchors, positives], distances[anchors, negatives], None)
    positive, negative = paired_distances(embeddings, anchors, positives, negatives, squared=squared)
    return TripletDistances(positive, negative, None)


def all_triplets(distances: Tensor, labels: Tensor) -> TripletDistances:
    """Return all valid triplets of an (N, N) matrix: (anchor-positive pairs) x N numbers, not N cubed."""
    same = labels[:, None] == labels[None, :]
    anchors, positives = same.clone().fill_diagonal_(False).nonzero(as_tuple=True)
    return TripletDistances(distances[anchors, positives][:, None], distances[anchors], ~same[anchors])


def paired_distances(
    embeddings: Tensor, anchors: Tensor, *others: Tensor, squared: bool = False
) -> tuple[Tensor, ...]:
    """Return the Euclidean distances of T rows to T others each; zero slope where two vectors coincide.

    Example:
        >>> vectors, anchors = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([0, 1])
        >>> paired_distances(vectors, anchors, torch.tensor([1, 1]))
        (tensor([5., 0.]),)
    """
    distances: tuple[Tensor, ...] = _PairedDistances.apply(embeddings, anchors, torch.stack(others), squared)
    return distances


class _PairedDistances(torch.autograd.Function):
    """The derivative written out, in half the time of autograd's own."""

    @staticmethod
    def forward(
        ctx: Any, embeddings: Tensor, anchors: Tensor, others: Tensor, squared: bool
    ) -> tuple[Tensor, ...]:
        ctx.size, ctx.squared, shape = len(embeddings), squared, others.shape
        others = others.flatten()
        differences = embeddings.index_select(0, others).view(*shape, embeddings.shape[1])
        differences -= embeddings.index_select(0, anchors)
        distances = torch.linalg.vector_norm(differences, dim=2)
        ctx.save_for_backward(anchors, others, differences, distances)
        return tuple(distances.square() if squared else distances)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        anchors, others, differences, distances = ctx.saved_tensors
        slopes = torch.stack(gradients)
        slopes = 2 * slopes if ctx.squared else slopes / distances.masked_fill(distances == 0, torch.inf)
        pulls = differences * slopes[:, :, None]
        total = pulls.new_zeros(ctx.size, pulls.shape[2]).index_add_(0, others, pulls.flatten(0, 1))
        return total.index_add_(0, anchors, pulls.sum(dim=0), alpha=-1), None, None, None


def refuse_indices(indices_tuple: Indices | None, name: str) -> None:
    """Refuse a miner's choice where a loss forms its own pairs.

    Raises:
        InputError: There are indices.
    """
    if indices_tuple is not None:
        raise InputError(
            f"loss={name} forms its own pairs from the whole batch and takes no miner; use miner=none."
        )


def pair_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return which pairs show one person and which two, (N, N) boolean each; no image pairs with itself."""
    same = labels[:, None] == labels[None, :]
    return same.clone().fill_diagonal_(False), ~same


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average values where the mask is true; without any, a zero with a gradient."""
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)


def pair_diagnostics(
    distances: Tensor, positives: Tensor, negatives: Tensor, active_fraction: Tensor, embeddings: Tensor
) -> dict[str, Tensor]:
    """Return detached scalars that show collapse, of an (N, N) matrix and its two masks."""
    distances = distances.detach()
    return {
        "active_fraction": active_fraction.detach(),
        "mean_ap_distance": masked_mean(distances, positives),
        "mean_an_distance": masked_mean(distances, negatives),
        "embedding_norm": mean_norm(embeddings),
    }


def mean_norm(embeddings: Tensor) -> Tensor:
    """Return the mean Euclidean length of the rows, detached."""
    norms: Tensor = torch.linalg.vector_norm(embeddings.detach(), dim=1)
    return norms.sum() / len(norms)


def euclidean(squared: bool) -> Literal["euclidean", "sqeuclidean"]:
    """Return the name of the Euclidean metric or of its square."""
    return "sqeuclidean" if squared else "euclidean"
