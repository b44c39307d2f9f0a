"""Quadruplet loss: a triplet loss, and the same demand against pairs that the anchor is no part of."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from reid_lightning.distances import unit_vectors
from reid_lightning.losses.gradients import distance_matrix
from reid_lightning.losses.pairs import Indices, refuse_indices
from reid_lightning.losses.settings import at_least
from reid_lightning.losses.triplet import hinge
from reid_lightning.losses.triplets import mean_cost_of_all


class QuadrupletLoss(nn.Module):
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
        InputError: A margin is negative.

    Examples:
        >>> embeddings, labels = torch.tensor([[0.0], [1.0], [3.0], [3.5]]), torch.tensor([0, 0, 1, 2])
        >>> QuadrupletLoss(margin=0.5, negative_margin=0.2)(embeddings, labels)  # only 1 - |3.5 - 3| + 0.2 costs
        tensor(0.7000)
    """

    forms_own_pairs = True

    def __init__(
        self,
        margin: float = 0.3,
        negative_margin: float = 0.15,
        squared: bool = False,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        self.margin = at_least("loss.quadruplet.margin", margin, 0)
        self.negative_margin = at_least("loss.quadruplet.negative_margin", negative_margin, 0)
        self.squared, self.normalize = squared, normalize
        self.diagnostics: dict[str, Tensor] = {}

    def forward(self, embeddings: Tensor, labels: Tensor, indices_tuple: Indices | None = None) -> Tensor:
        """Return the scalar loss of (N, D) embeddings and (N,) labels; indices are refused."""
        refuse_indices(indices_tuple, "quadruplet")
        if self.normalize:
            embeddings = unit_vectors(embeddings)
        distances = distance_matrix(embeddings, self.squared)
        triplets, self.diagnostics = mean_cost_of_all(
            distances, labels, lambda near, far: hinge(near - far + self.margin), False, embeddings
        )
        return triplets + quadruplet_term(distances, labels, self.negative_margin)


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
    slopes = torch.zeros(distances.numel(), dtype=torch.int64, device=distances.device)
    values, quadruplets = distances.detach().flatten(), 0
    for sign, positives, negatives in _counted_pairs(labels):
        per_positive, per_negative = active_counts(values[positives] + margin, values[negatives])
        slopes[positives] += sign * per_positive
        slopes[negatives] -= sign * per_negative
        quadruplets += sign * len(positives) * len(negatives)
    active = slopes.clamp(min=0).sum()  # slopes of positive pairs: one for each quadruplet that costs
    total = (slopes.view_as(distances) * distances).sum() + margin * active
    return total / max(1, quadruplets)


def _counted_pairs(labels: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield a sign, positive pairs and negative pairs, as positions in the flat (N, N) matrix.

    First all pairs, then, to be taken away, those of each identity: its positive pairs, and its images with others'.
    """
    size = len(labels)
    positions = torch.arange(size * size, device=labels.device).view(size, size)
    positions = torch.minimum(positions, positions.T)  # (b, c) and (c, b) are one pair
    same = labels[:, None] == labels[None, :]
    once = torch.ones_like(same).triu(1)
    yield 1, positions[same & once], positions[~same & once]
    identities, counts = labels.unique(return_counts=True)  # type: ignore[no-untyped-call]
    for identity in identities[counts > 1]:
        own = labels == identity
        rows = positions[own]
        yield -1, rows[:, own][once[: len(rows), : len(rows)]], rows[:, ~own].flatten()


def active_counts(positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """Count for each positive the negatives below it, and for each negative the positives above it.

    Examples:
        >>> active_counts(torch.tensor([3.0, 1.0]), torch.tensor([0.0, 1.0, 2.0]))
        (tensor([3, 1]), tensor([2, 1, 1]))
    """
    ordered, order = positives.sort()
    not_above = torch.searchsorted(ordered, negatives, right=True)
    below = not_above.bincount(minlength=len(positives) + 1).cumsum(0)[:-1]
    return torch.empty_like(below).index_copy_(0, order, below), len(positives) - not_above
