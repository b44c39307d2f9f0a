"""The nearest gallery images of each query: the ranked lists that a person looks at."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from reid_lightning.distances import Metric
from reid_lightning.errors import InputError
from reid_lightning.retrieval.aligned import AlignedRerank
from reid_lightning.retrieval.matches import CameraPolicy, Matches
from reid_lightning.retrieval.ranking import PairSimilarities
from reid_lightning.retrieval.similarities import Similarities


class Neighbours(NamedTuple):
    """Ranked gallery rows of each query, nearest first."""

    indices: Tensor
    """(Q, k) rows of the gallery, -1 where it has no more."""
    distances: Tensor
    """(Q, k) in the metric's unit, infinite where `indices` is -1."""


@torch.no_grad()
def nearest(
    query: Tensor,
    gallery: Tensor,
    k: int,
    query_ids: Tensor | None = None,
    gallery_ids: Tensor | None = None,
    query_cameras: Tensor | None = None,
    gallery_cameras: Tensor | None = None,
    *,
    metric: Metric = "cosine",
    camera_policy: CameraPolicy = "exclude_same_camera",
    rerank: AlignedRerank | None = None,
    chunk_size: int | None = None,
) -> Neighbours:
    """Find the `k` nearest gallery images of each query; at equal distance the earlier row comes first.

    Args:
        query: (Q, D).
        gallery: (G, D).
        k: Length of each list; cut to G.
        query_ids: (Q,) integer identities; without identities nothing is removed.
        gallery_ids: (G,).
        query_cameras: (Q,) integer cameras, -1 where unknown.
        gallery_cameras: (G,).
        metric: "cosine", "euclidean" or "sqeuclidean".
        camera_policy: As in `ranking.rank`, so that a list shows what the scores count.
        rerank: A second look at the nearest images; distances stay those of the features.
        chunk_size: Queries at a time; None chooses by the size of the gallery.

    Raises:
        InputError: k is below 1, an empty table, values that are not finite, or lengths that do not fit.

    Examples:
        >>> query, gallery = torch.zeros(1, 1), torch.tensor([[3.0], [1.0], [2.0], [1.0]])
        >>> indices, distances = nearest(query, gallery, 3, metric="euclidean")
        >>> indices.tolist(), distances.tolist()
        ([[1, 3, 2]], [[1.0, 1.0, 2.0]])
    """
    if k < 1:
        raise InputError(f"A ranked list needs at least one image; got k={k}.")
    similarities = Similarities.of(query, gallery, metric)
    matches = None
    if query_ids is not None and gallery_ids is not None:
        matches = Matches.of(
            query_ids,
            gallery_ids,
            query_cameras,
            gallery_cameras,
            camera_policy=camera_policy,
            lengths=(len(query), len(gallery)),
        )
    second_look = None if rerank is None else partial(rerank.apply, similarities)
    return nearest_pairs(similarities, k, matches, second_look, chunk_size)


class Distances(PairSimilarities, Protocol):
    """Similarities that can be told as distances."""

    def distances(self, rows: slice, similarities: Tensor) -> Tensor:
        """Turn similarities (len(rows), n) into distances."""


@torch.no_grad()
def nearest_pairs(
    similarities: Distances,
    k: int,
    matches: Matches | None = None,
    second_look: Callable[[slice, Tensor], None] | None = None,
    chunk_size: int | None = None,
) -> Neighbours:
    """Find neighbours by any similarities as `nearest` does by those of features.

    Args:
        similarities: Of all queries to the gallery.
        k: Length of each list; cut to the gallery's.
        matches: Who matches whom, for what the protocol removes; None removes nothing.
        second_look: Changes the order of the similarities of a slice of queries in place; distances stay what they were.
        chunk_size: Queries at a time; None chooses by the size of the gallery.
    """
    indices, distances = [], []
    for queries, chunk in similarities.chunks(chunk_size):
        if matches is not None:
            rows, columns, counted = matches.of_queries(queries)
            removed_pairs = (torch.from_numpy(side[~counted]).to(chunk.device) for side in (rows, columns))
            chunk[tuple(removed_pairs)] = -torch.inf
        compared = chunk
        if second_look is not None:
            compared = chunk.clone()
            second_look(queries, compared)
        nearest_columns = _largest(compared, min(k, chunk.shape[1]))
        values = chunk.gather(1, nearest_columns)
        removed = values.isneginf()
        indices.append(nearest_columns.masked_fill(removed, -1))
        distances.append(similarities.distances(queries, values).masked_fill(removed, torch.inf))
    return Neighbours(torch.cat(indices), torch.cat(distances))


def _largest(values: Tensor, k: int) -> Tensor:
    """Return the columns of each row's `k` largest values, (rows, k), earlier columns first among equals.

    `topk` alone leaves open which of several equal values it takes, and their order.
    """
    smallest_taken = values.topk(k, dim=1).values[:, -1:]
    rows, columns = (values >= smallest_taken).nonzero(as_tuple=True)
    # By row, then by value, then by column: stable sorts from the last key to the first.
    order = values[rows, columns].sort(descending=True, stable=True).indices
    order = order[rows[order].sort(stable=True).indices]
    counts = torch.bincount(rows, minlength=len(values))
    starts = counts.cumsum(0) - counts
    return columns[order[starts[:, None] + torch.arange(k, device=values.device)]]
