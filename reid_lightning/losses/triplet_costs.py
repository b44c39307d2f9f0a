"""The mean cost of triplets: of those that a miner lists, or of all valid ones without listing them."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from reid_lightning.losses.gradients import distance_matrix, with_slopes
from reid_lightning.losses.pairs import Deferred, Indices, TripletPerImage, mean_norm

Cost = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Element-wise: from d(a, p) and d(a, n) to what a triplet costs, zero or more, and its slope in either."""

CHUNK = 2**18  # triplets whose costs are held at a time


def mean_triplet_cost(
    embeddings: Tensor,
    labels: Tensor,
    indices_tuple: Indices | None,
    cost: Cost,
    squared: bool = False,
    active_only: bool = False,
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Return the mean cost of triplets, a zero with a gradient when there are none, and what shows collapse.

    Args:
        embeddings: (N, D).
        labels: (N,).
        indices_tuple: Anchors, positives and negatives, (T,) each; None for all valid triplets. One whose positive is
            its anchor is none and counts for nothing: a miner that may not wait for the device leaves it in its place.
        cost: Cost of triplets from their two distances, and its slopes.
        squared: Squared Euclidean distances.
        active_only: Average over the triplets that cost something, instead of over all.

    Raises:
        ValueError: The indices are not triplets.
    """
    if indices_tuple is None or 8 * len(indices_tuple[0]) > len(embeddings) ** 2:
        # The whole matrix is cheaper than a difference for each.
        distances = distance_matrix(embeddings, squared)
        return mean_cost_in_matrix(distances, labels, indices_tuple, cost, active_only, embeddings)
    anchors, positives, negatives = _of_triplets(indices_tuple)
    with torch.no_grad():
        # Less is gathered where the anchors are the images in their order. Indexing in Python costs as much as an operator.
        ordered = isinstance(indices_tuple, TripletPerImage)
        others = torch.cat((positives, negatives))
        differences = embeddings.index_select(0, others).view(2, len(anchors), embeddings.shape[1])
        differences -= embeddings if ordered else embeddings.index_select(0, anchors)
        lengths = torch.linalg.vector_norm(differences, dim=2)
        near, far = (lengths.square() if squared else lengths).unbind()
        mean, slopes, diagnostics = _mean_cost(near, far, cost, active_only, positives != anchors, embeddings)
        # The gradient of d² is twice the difference, that of d the difference over its length, or zero.
        shortest = torch.finfo(mean.dtype).tiny ** 0.5
        factors = slopes.mul_(2) if squared else slopes.div_(lengths.clamp(min=shortest))
        pulls = differences.mul_(factors.unsqueeze(2))
        gradient = torch.zeros_like(embeddings).index_add_(0, others, pulls.flatten(0, 1))
        of_anchors = pulls.select(0, 0).add_(pulls.select(0, 1))
        if ordered:
            gradient -= of_anchors
        else:
            gradient.index_add_(0, anchors, of_anchors, alpha=-1)
    return with_slopes(mean, embeddings, gradient), diagnostics


def mean_cost_in_matrix(
    distances: Tensor,
    labels: Tensor,
    indices_tuple: Indices | None,
    cost: Cost,
    active_only: bool,
    embeddings: Tensor,
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Return the mean cost of triplets whose (N, N) distances are known, and what shows collapse.

    Args:
        distances: (N, N), part of the graph.
        labels: (N,).
        indices_tuple: As of `mean_triplet_cost`, as are the following two.
        cost: Cost of triplets from their two distances, and its slopes.
        active_only: Average over the triplets that cost something.
        embeddings: (N, D), for their norm.
    """
    if indices_tuple is None:
        return mean_cost_of_all(distances, labels, cost, active_only, embeddings)
    anchors, positives, negatives = _of_triplets(indices_tuple)
    with torch.no_grad():
        near, far = distances[anchors, positives], distances[anchors, negatives]
        mean, slopes, diagnostics = _mean_cost(near, far, cost, active_only, positives != anchors, embeddings)
        by_pair = torch.zeros_like(distances)
        for other, slope in zip((positives, negatives), slopes, strict=True):
            by_pair.index_put_((anchors, other), slope, accumulate=True)
    return with_slopes(mean, distances, by_pair), diagnostics


def _of_triplets(indices_tuple: Indices) -> Indices:
    """Refuse what is not anchors, positives and negatives."""
    if len(indices_tuple) != 3:
        raise ValueError(
            f"a triplet loss needs anchors, positives and negatives, but the miner gave {len(indices_tuple)} index tensors; "
            "choose a miner of triplets, such as batch hard"
        )
    return indices_tuple


def _mean_cost(
    near: Tensor, far: Tensor, cost: Cost, active_only: bool, valid: Tensor, embeddings: Tensor
) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
    """Return the mean cost of (T,) triplets, its (2, T) slopes in their distances, and diagnostics."""
    weights = valid.to(near.dtype)
    values = torch.stack(cost(near, far)).mul_(weights)
    costs, count = values.select(0, 0), weights.sum().clamp_(min=1)

    def diagnostics() -> dict[str, Tensor]:
        return {
            "active_fraction": costs.count_nonzero() / count,
            "mean_ap_distance": near.mul(weights).sum() / count,
            "mean_an_distance": far.mul(weights).sum() / count,
            "embedding_norm": mean_norm(embeddings),
        }

    divisor = costs.count_nonzero().clamp_(min=1) if active_only else count
    return costs.sum() / divisor, values.narrow(0, 1, 2).div_(divisor), Deferred(diagnostics)


def mean_cost_of_all(
    distances: Tensor, labels: Tensor, cost: Cost, active_only: bool, embeddings: Tensor
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Return the mean cost of all valid triplets of an (N, N) matrix, and what shows collapse.

    Value and slopes are computed together, a few anchor-positive pairs against the whole batch at a time, so that
    memory grows with N² and not with the number of triplets.
    """
    known = distances.detach()
    same = labels[:, None] == labels[None, :]
    anchors, positives = same.clone().fill_diagonal_(False).nonzero(as_tuple=True)
    slopes = torch.zeros_like(known)
    total, active = known.new_zeros(()), torch.zeros((), dtype=torch.int64, device=known.device)
    rows = max(1, CHUNK // len(labels))
    for anchor, positive in zip(torch.split(anchors, rows), torch.split(positives, rows), strict=True):
        invalid = same[anchor]
        parts = cost(known[anchor, positive][:, None], known[anchor])
        costs, near_slopes, far_slopes = (part.masked_fill(invalid, 0) for part in parts)
        slopes.index_put_((anchor, positive), near_slopes.sum(dim=1), accumulate=True)
        slopes.index_add_(0, anchor, far_slopes)
        total += costs.sum()
        active += costs.count_nonzero()
    own = same.sum(dim=1)
    pairs = (own - 1) * (len(labels) - own)
    count = pairs.sum().clamp(min=1)
    divisor = active.clamp(min=1) if active_only else count

    def diagnostics() -> dict[str, Tensor]:
        return {
            "active_fraction": active / count,
            "mean_ap_distance": known[anchors, positives].sum() / max(1, len(anchors)),
            "mean_an_distance": (known.masked_fill(same, 0).sum(dim=1) * (own - 1)).sum() / count,
            "embedding_norm": mean_norm(embeddings),
        }

    return with_slopes(total / divisor, distances, slopes / divisor), Deferred(diagnostics)
