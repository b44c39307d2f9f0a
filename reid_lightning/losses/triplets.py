"""The mean cost of triplets: of those that a miner lists, or of all valid ones without listing them."""

from collections.abc import Callable

import torch
from torch import Tensor

from reid_lightning.errors import InputError
from reid_lightning.losses.gradients import distance_matrix, paired_distances
from reid_lightning.losses.pairs import Indices, mean_norm

Cost = Callable[[Tensor, Tensor], Tensor]
"""Element-wise, and zero or more: from d(a, p) and d(a, n) to what a triplet costs."""

CHUNK = 2**18  # triplets whose costs are held at a time


def mean_triplet_cost(
    embeddings: Tensor,
    labels: Tensor,
    indices_tuple: Indices | None,
    cost: Cost,
    squared: bool = False,
    active_only: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mean cost of triplets, a zero with a gradient when there are none, and what shows collapse.

    Args:
        embeddings: (N, D).
        labels: (N,).
        indices_tuple: Anchors, positives and negatives, (T,) each; None for all valid triplets.
        cost: Cost of triplets from their two distances.
        squared: Squared Euclidean distances.
        active_only: Average over the triplets that cost something, instead of over all.

    Raises:
        InputError: The indices are not triplets.
    """
    if indices_tuple is None:
        return mean_cost_of_all(distance_matrix(embeddings, squared), labels, cost, active_only, embeddings)
    if len(indices_tuple) != 3:
        raise InputError(
            f"A triplet loss needs anchors, positives and negatives, but the miner gave {len(indices_tuple)} index "
            "tensors; choose a miner of triplets, such as miner=batch_hard."
        )
    anchors, positives, negatives = indices_tuple
    if 8 * len(anchors) > len(embeddings) ** 2:  # so many that the whole matrix is cheaper
        distances = distance_matrix(embeddings, squared)
        positive, negative = distances[anchors, positives], distances[anchors, negatives]
    else:
        positive, negative = paired_distances(embeddings, anchors, positives, negatives, squared=squared)
    costs = cost(positive, negative)
    active, count = costs.detach().count_nonzero(), max(1, len(costs))
    diagnostics = {
        "active_fraction": active / count,
        "mean_ap_distance": positive.detach().sum() / count,
        "mean_an_distance": negative.detach().sum() / count,
        "embedding_norm": mean_norm(embeddings),
    }
    if active_only:
        return costs.sum() / active.clamp(min=1), diagnostics
    return costs.mean() if len(costs) else costs.sum(), diagnostics


def mean_cost_of_all(
    distances: Tensor, labels: Tensor, cost: Cost, active_only: bool, embeddings: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
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
        near = known[anchor, positive][:, None].requires_grad_()
        far = known[anchor].requires_grad_()
        with torch.enable_grad():
            costs = cost(near, far).masked_fill(same[anchor], 0)
            subtotal = costs.sum()
        near_slopes, far_slopes = torch.autograd.grad(subtotal, (near, far))
        slopes.index_put_((anchor, positive), near_slopes.flatten(), accumulate=True)
        slopes.index_add_(0, anchor, far_slopes)
        total += subtotal.detach()
        active += costs.detach().count_nonzero()
    pairs, others = same.sum(dim=1) - 1, len(labels) - same.sum(dim=1)
    count = (pairs * others).sum().clamp(min=1)
    diagnostics = {
        "active_fraction": active / count,
        "mean_ap_distance": known[anchors, positives].sum() / max(1, len(anchors)),
        "mean_an_distance": (known.masked_fill(same, 0).sum(dim=1) * pairs).sum() / count,
        "embedding_norm": mean_norm(embeddings),
    }
    # The value is the total's, the slopes are those found above.
    total = total + (slopes * (distances - known)).sum()
    return total / (active.clamp(min=1) if active_only else count), diagnostics
