"""The nearest gallery images of each query: the ranked lists that a person looks at."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from reid_lightning.distances import Distance
from reid_lightning.retrieval.matches import Matches
from reid_lightning.retrieval.similarities import Comparison, Similarities

_FEWEST_MEMBERS, _MOST_MEMBERS = 4, 64  # of a group of columns


class Neighbours(NamedTuple):
    """Ranked gallery rows of each query, nearest first."""

    indices: Tensor
    """(Q, k) rows of the gallery, -1 where it has no more."""
    distances: Tensor
    """(Q, k) in the distance's unit, infinite where `indices` is -1."""


def nearest(
    query: Tensor,
    gallery: Tensor,
    k: int,
    matches: Matches | None = None,
    *,
    distance: Distance = "cosine",
    chunk_size: int | None = None,
) -> Neighbours:
    """Find the `k` nearest gallery images of each query; at equal distance the earlier row comes first.

    Args:
        query: (Q, D).
        gallery: (G, D).
        k: Length of each list; cut to G.
        matches: Who matches whom, so that a list leaves out what the scores leave out; None leaves nothing out.
        distance: "cosine", "euclidean" or "sqeuclidean".
        chunk_size: Queries at a time; None chooses by the size of the gallery.

    Raises:
        ValueError: k is below 1, the distance is unknown, or shapes do not fit.
        InputError: A side is empty or not finite.

    Examples:
        >>> query, gallery = torch.zeros(1, 1), torch.tensor([[3.0], [1.0], [2.0], [1.0]])
        >>> indices, distances = nearest(query, gallery, 3, distance="euclidean")
        >>> indices.tolist(), distances.tolist()
        ([[1, 3, 2]], [[1.0, 1.0, 2.0]])
    """
    return nearest_pairs(Similarities.of(query, gallery, distance), k, matches, chunk_size)


@torch.no_grad()
def nearest_pairs(
    comparison: Comparison, k: int, matches: Matches | None = None, chunk_size: int | None = None
) -> Neighbours:
    """Find neighbors by any comparison as `nearest` does by the distances of vectors.

    Args:
        comparison: Of all queries to the gallery.
        k: Length of each list; cut to the gallery's.
        matches: As in `nearest`.
        chunk_size: Queries at a time; None chooses by the size of the gallery.

    Raises:
        ValueError: k is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be >= 1, got {k}")
    indices, distances = [], []
    for queries, chunk in comparison.chunks(chunk_size):
        if matches is not None:
            rows, columns, counted = matches.of_queries(queries)
            removed_pairs = (torch.from_numpy(side[~counted]).to(chunk.device) for side in (rows, columns))
            chunk[tuple(removed_pairs)] = -torch.inf
        compared = chunk
        if comparison.reorder is not None:
            compared = chunk.clone()
            comparison.reorder(queries, compared)
        nearest_columns = largest(compared, min(k, chunk.shape[1]))
        values = chunk.gather(1, nearest_columns)
        removed = values.isneginf()
        indices.append(nearest_columns.masked_fill(removed, -1))
        distances.append(comparison.distances(queries, values).masked_fill(removed, torch.inf))
    return Neighbours(torch.cat(indices), torch.cat(distances))


def largest(values: Tensor, k: int) -> Tensor:
    """Return the columns of each row's `k` largest values, largest first, earlier columns first among equals.

    `topk` alone leaves open which of several equal values it takes, and their order. Long rows are not sorted as a whole:
    the k-th largest maximum of groups of columns bounds the k-th largest value from below, so that only the k groups with
    the largest maxima can hold it.

    Args:
        values: (rows, columns), no NaN.
        k: From 1 to the number of columns.

    Returns:
        (rows, k) int64.

    Examples:
        >>> largest(torch.tensor([[1.0, 3.0, 2.0, 3.0]]), 3)
        tensor([[1, 3, 2]])
    """
    width = values.shape[1]
    members = min(math.isqrt(width // k), _MOST_MEMBERS)
    if members < _FEWEST_MEMBERS:
        return _largest_of_all(values, k)
    groups = width // members
    # Column m * groups + g is member m of group g; what is left over at the end is always looked at.
    split = values[:, : groups * members].view(len(values), members, groups)
    maxima = split.amax(dim=1)
    chosen = maxima.topk(k, dim=1).indices.sort(dim=1).values
    bound = maxima.gather(1, chosen).amin(dim=1, keepdim=True)
    inside = split.gather(2, chosen[:, None, :].expand(-1, members, -1)).flatten(1)
    candidates = torch.cat([inside, values[:, groups * members :]], dim=1)
    starts = torch.arange(members, device=values.device)[:, None] * groups
    columns = torch.cat(
        [
            (starts + chosen[:, None, :]).flatten(1),  # ascending, as the columns left over
            torch.arange(groups * members, width, device=values.device).expand(len(values), -1),
        ],
        dim=1,
    )
    places = _largest_of_all(candidates, k)
    found = columns.gather(1, places)
    # Where the k-th value equals the bound, a group that was not chosen may hold an equal value in an earlier column.
    last = candidates.gather(1, places[:, -1:])
    tied = ((last == bound) & ((maxima >= bound).sum(dim=1, keepdim=True) > k)).flatten()
    if tied.any():
        found[tied] = _largest_of_all(values[tied], k)
    return found


def _largest_of_all(values: Tensor, k: int) -> Tensor:
    """Do what `largest` does by looking at every value."""
    found, columns = values.topk(min(k + 1, values.shape[1]), dim=1)
    tied = (found[:, 1:] == found[:, :-1]).any(dim=1)
    columns = columns[:, :k]
    if tied.any():
        columns[tied] = _largest_with_ties(values[tied], k)
    return columns


def _largest_with_ties(values: Tensor, k: int) -> Tensor:
    smallest_taken = values.topk(k, dim=1).values[:, -1:]
    rows, columns = (values >= smallest_taken).nonzero(as_tuple=True)
    # By row, then by value, then by column: stable sorts from the last key to the first.
    order = values[rows, columns].sort(descending=True, stable=True).indices
    order = order[rows[order].sort(stable=True).indices]
    counts = torch.bincount(rows, minlength=len(values))
    starts = counts.cumsum(0) - counts
    return columns[order[starts[:, None] + torch.arange(k, device=values.device)]]
