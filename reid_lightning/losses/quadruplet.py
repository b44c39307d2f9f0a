"""Quadruplet loss: a triplet loss, and the same demand against pairs that the anchor is no part of."""

import torch
from torch import Tensor

from reid_lightning.distances import unit_vectors
from reid_lightning.errors import require
from reid_lightning.losses.gradients import distance_matrix
from reid_lightning.losses.pairs import Indices, refuse_indices
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss
from reid_lightning.losses.triplet import hinge
from reid_lightning.losses.triplet_costs import mean_cost_of_all


class QuadrupletLoss(MetricLoss):
    """Quadruplet loss over all valid quadruplets of the batch (Chen et al. 2017, "Beyond Triplet Loss", eq. 8).

    `mean(max(d(a,p) - d(a,n) + margin, 0)) + mean(max(d(a,p) - d(b,c) + negative_margin, 0))`, the second over pairs
    b, c of two people of whom neither is the anchor's. Each sum is averaged over its own tuples, and all of them
    are counted, exactly, without listing them: time and memory grow with N², not with N² times the pairs.

    Args:
        margin: Smallest wanted gap within a triplet, in units of the distance.
        negative_margin: The same against the other pairs; the paper takes half of the margin.
        squared: Squared Euclidean distances in place of plain ones.
        normalize: Scale embeddings to length 1 first.

    Raises:
        ValueError: A margin is negative.

    Examples:
        >>> embeddings, labels = torch.tensor([[0.0], [1.0], [3.0], [3.5]]), torch.tensor([0, 0, 1, 2])
        >>> QuadrupletLoss(margin=0.5, negative_margin=0.2)(embeddings, labels)  # only 1 - |3.5 - 3| + 0.2 costs
        tensor(0.7000)
    """

    spec = LossSpec(of_triplets=True, forms_own_pairs=True)

    def __init__(
        self,
        margin: float = 0.3,
        negative_margin: float = 0.15,
        squared: bool = False,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        require(margin >= 0, "margin", ">= 0", margin)
        self.margin = margin
        require(negative_margin >= 0, "negative_margin", ">= 0", negative_margin)
        self.negative_margin = negative_margin
        self.squared, self.normalize = squared, normalize

    def output(self, embeddings: Tensor, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return the loss of (N, D) embeddings and (N,) labels; indices are refused."""
        refuse_indices(self, indices_tuple)
        if self.normalize:
            embeddings = unit_vectors(embeddings)
        distances = distance_matrix(embeddings, self.squared)
        triplets, diagnostics = mean_cost_of_all(
            distances, labels, lambda near, far: hinge(near - far + self.margin), False, embeddings
        )
        return LossOutput(triplets + quadruplet_term(distances, labels, self.negative_margin), diagnostics)


def quadruplet_term(distances: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Return the mean of `max(d(a,p) - d(b,c) + margin, 0)` over positive pairs and pairs foreign to them.

    A sum of hinges is linear where it is active, so its value and its slopes follow from counts: for each positive
    pair the foreign pairs that cost against it, and for each negative pair the positive pairs. Foreign pairs
    are all negative pairs less those with an image of the anchor's identity.

    Args:
        distances: (N, N).
        labels: (N,).
        margin: In units of the distances.
    """
    size = len(labels)
    first, second = torch.triu_indices(size, size, 1, device=labels.device)  # every pair once
    places = first * size + second
    same = labels[:, None] == labels
    values, negative = distances.detach().flatten()[places], ~same.flatten()[places]
    positives = (~negative).nonzero().flatten()
    thresholds, order = (values[positives] + margin).sort()
    positives, counted = positives[order], negative.long()
    # The positive pairs from here on cost against a pair.
    start = torch.searchsorted(thresholds, values, right=True)
    below = start.new_zeros(len(positives) + 1).index_add_(0, start, counted).cumsum(0)[:-1]
    above = (len(positives) - start) * counted
    identities = same.int().argmax(dim=1)  # each named by its first image
    for images in (first, second):
        own = identities[first[positives]], identities[images]
        fewer_below, fewer_above = counts_within(*own, start, counted, size)
        below, above = below - fewer_below, above - fewer_above
    slopes = (-above).index_copy_(0, positives, below)
    slopes = places.new_zeros(size * size).index_copy_(0, places, slopes)
    alike = same.sum(dim=1)
    quadruplets = len(positives) * counted.sum() - (alike * (alike - 1) * (size - alike)).sum() // 2
    total = (slopes.view_as(distances) * distances).sum() + margin * below.sum()
    mean: Tensor = total / quadruplets.clamp(min=1)
    return mean


def counts_within(
    groups: Tensor, other_groups: Tensor, start: Tensor, counted: Tensor, num_groups: int
) -> tuple[Tensor, Tensor]:
    """Count, within groups, for each positive pair the negative ones below it, and for each negative one the reverse.

    Args:
        groups: (P,) of the positive pairs, which lie in increasing order; only pairs of one group meet.
        other_groups: (M,) of the other pairs.
        start: (M,) place of the first positive pair above each of them.
        counted: (M,) 1 for a negative pair, 0 for one that counts for nothing.
        num_groups: Groups are numbered below it.

    Returns:
        (P,) and (M,) int64.

    Examples:
        >>> groups, other_groups, start = torch.tensor([0, 1, 0]), torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
        >>> counts_within(groups, other_groups, start, torch.ones_like(start), num_groups=2)
        (tensor([1, 1, 2]), tensor([2, 1, 1]))
    """
    # One number orders the positive pairs by group, and within a group as they lie.
    step = len(groups) + 1
    keys, order = (groups * step + torch.arange(len(groups), device=groups.device)).sort()
    ends = torch.searchsorted(keys, step * torch.arange(1, num_groups + 1, device=groups.device))
    found = torch.searchsorted(keys, other_groups * step + start)
    above = (ends[other_groups] - found) * counted
    # Found up to a positive pair are the negative ones below it, and all those of the groups before its own.
    met = start.new_zeros(step).index_add_(0, found, counted).cumsum(0)[:-1]
    sizes = start.new_zeros(num_groups).index_add_(0, other_groups, counted)
    before = (sizes.cumsum(0) - sizes)[groups[order]]
    return torch.zeros_like(met).index_copy_(0, order, met - before), above
