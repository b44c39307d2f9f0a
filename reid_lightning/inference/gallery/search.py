"""The nearest images of a gallery: exact over all vectors, or the best of what an index proposes, compared exactly."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.distances import Distance, pairwise_distances
from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.attributes import Wish, pushed_back, reordered
from reid_lightning.inference.gallery.conditions import Condition
from reid_lightning.inference.gallery.index import TITLES, candidates, read_index
from reid_lightning.inference.gallery.snapshot import Snapshot
from reid_lightning.retrieval.blocks import Block, nearest_in_blocks, squared_lengths
from reid_lightning.retrieval.k_reciprocal import KReciprocalRerank
from reid_lightning.retrieval.neighbours import Neighbours, nearest_pairs
from reid_lightning.retrieval.similarities import Similarities

log = logging.getLogger("reid_lightning")

Search = Literal["auto", "exact", "index"]
PROPOSED = 10  # times as many images as are wanted are asked of an index
LEAST_PROPOSED = 200
RERANKED = 200  # images of each query that are re-ranked, or all that are wanted if these are more


class Hits(NamedTuple):
    """The ranked images of each query, nearest first."""

    ids: NDArray[np.int64]
    """(Q, k) of the images, -1 where there are no more."""
    distances: NDArray[np.float32]
    """(Q, k) in the gallery's distance, after re-ranking of 0 to 1; infinite where `ids` is -1."""
    how: str
    """How they were found: "exact", "IVF-PQ", "HNSW" or "attributes", and whether re-ranked or re-ordered by attributes."""


def search_snapshot(
    folder: Path,
    snapshot: Snapshot,
    queries: NDArray[np.float32],
    top: int,
    condition: Condition | None,
    search: Search,
    rerank: bool,
    wish: Wish | None = None,
) -> Hits:
    """Search a gallery; see `Gallery.search`.

    Raises:
        InputError: There is no index.
    """
    entry = snapshot.manifest.index
    if search == "index" and entry is None:
        raise InputError(f"{folder} has no index; build one with `reid gallery index`, or search exactly.")
    condition = condition if wish is None else wish.among(condition)
    asked = torch.from_numpy(queries)
    by_index = entry is not None and (search == "index" or (search == "auto" and condition is None))
    index = _index(folder, snapshot, required=search == "index") if by_index else None
    how = TITLES.get(entry.kind, entry.kind) if index is not None and entry is not None else "exact"

    def nearest(k: int) -> Neighbours:
        if index is None:
            return _exact(snapshot, asked, k, condition)
        return _by_index(index, snapshot, asked, k, condition)

    if rerank:
        how = f"{how}, re-ranked"
    if wish is not None and wish.weight:
        how = f"{how}, re-ordered by attributes"
        found = _wished(snapshot, asked, top, condition, nearest, wish, rerank)
    else:
        found = (
            reranked(asked, nearest(max(top, RERANKED)), snapshot.vectors, snapshot.manifest.distance)
            if rerank
            else nearest(top)
        )
    positions, distances = (part[:, :top].numpy() for part in found)
    if not len(snapshot.ids):
        return Hits(positions, distances, how)
    return Hits(np.where(positions >= 0, snapshot.ids[positions], -1), distances, how)


def search_by_attributes(snapshot: Snapshot, top: int, condition: Condition | None, wish: Wish) -> Hits:
    """Return the images that have the wanted attributes with the most certainty, as the answer to one query.

    Distances run from 0 (certain) to 1: one less the geometric mean of the probabilities.
    """
    positions = np.flatnonzero(snapshot.matching(wish.among(condition)))
    lacks = wish.lacks(snapshot.probabilities)[torch.from_numpy(positions)]
    order = lacks.argsort(stable=True)[:top]
    ids, distances = np.full((1, top), -1), np.full((1, top), np.inf, np.float32)
    ids[0, : len(order)] = snapshot.ids[positions[order.numpy()]]
    distances[0, : len(order)] = lacks[order].numpy()
    return Hits(ids, distances, "attributes")


def _exact(
    snapshot: Snapshot, asked: Tensor, k: int, condition: Condition | None, first: int = 0
) -> Neighbours:
    """Compare with every vector that may be found, from a position on."""
    allowed = None if condition is None and not first else snapshot.matching(condition).copy()
    if allowed is not None:
        allowed[:first] = False
    blocks, start = [], 0
    for segment in snapshot.segments:
        end = start + segment.entry.rows
        own = segment.alive if allowed is None else allowed[start:end]
        blocks.append(Block(segment.vectors, segment.squares, own))
        start = end
    return nearest_in_blocks(asked, blocks, k, snapshot.manifest.distance)


def _index(folder: Path, snapshot: Snapshot, required: bool) -> Any:
    """Return the gallery's index; None where it cannot be used and need not be, which is said."""
    entry = snapshot.manifest.index
    assert entry is not None
    try:
        return snapshot.opened_index(lambda: read_index(folder, entry))
    except InputError as error:
        if required:
            raise
        log.warning("searching exactly: %s", error)
        return None


def _by_index(
    index: Any, snapshot: Snapshot, asked: Tensor, k: int, condition: Condition | None
) -> Neighbours:
    """Compare what an index proposes, and all vectors that came after it."""
    entry = snapshot.manifest.index
    assert entry is not None
    proposed = candidates(index, snapshot, asked, max(PROPOSED * k, LEAST_PROPOSED))
    if condition is not None:
        matching = snapshot.matching(condition)
        proposed = np.where((proposed >= 0) & matching[proposed], proposed, -1)
    later = _exact(snapshot, asked, k, condition, int(np.searchsorted(snapshot.ids, entry.up_to)))
    indices = torch.full((len(asked), k), -1)
    distances = torch.full((len(asked), k), torch.inf)
    for row in range(len(asked)):
        positions = np.unique(np.concatenate([proposed[row], later.indices[row].numpy()]))
        positions = positions[positions >= 0]
        vectors = snapshot.vectors(positions)
        block = Block(vectors, squared_lengths(vectors))
        best = nearest_in_blocks(asked[row : row + 1], [block], k, snapshot.manifest.distance)
        there = best.indices[0] >= 0
        indices[row, there] = torch.from_numpy(positions)[best.indices[0][there]]
        distances[row] = best.distances[0]
    return Neighbours(indices, distances)


def reranked(
    asked: Tensor,
    found: Neighbours,
    vectors_of: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    distance: Distance,
) -> Neighbours:
    """Order each query's list by the neighbors that query and images have in common among themselves.

    Args:
        asked: (Q, D).
        found: Of each query, -1 where there are no more.
        vectors_of: Vectors of what `found` names.
        distance: Of the gallery.
    """
    indices, distances = found.indices.clone(), torch.full_like(found.distances, torch.inf)
    for row in range(len(asked)):
        there = found.indices[row] >= 0
        own = found.indices[row][there]
        if not len(own):
            continue
        vectors = torch.from_numpy(vectors_of(own.numpy()))
        k1 = min(20, max(1, len(own) // 2))
        similarities = KReciprocalRerank(k1=k1, k2=min(6, k1 + 1)).apply(
            Similarities.of(asked[row : row + 1], vectors, distance)
        )
        order = nearest_pairs(similarities, len(own))
        indices[row, : len(own)] = own[order.indices[0]]
        distances[row, : len(own)] = order.distances[0]
    return Neighbours(indices, distances)


def spread_of(found: Neighbours) -> Tensor:
    """Return the (Q,) standard deviation of each query's distances."""
    shown = [row[row.isfinite()] for row in found.distances]
    return torch.stack([row.std(correction=0) if len(row) else row.sum() for row in shown])


def _wished(
    snapshot: Snapshot,
    asked: Tensor,
    top: int,
    condition: Condition | None,
    nearest: Callable[[int], Neighbours],
    wish: Wish,
    rerank: bool,
) -> Neighbours:
    """Push images that lack what is wanted back: among those that are re-ranked, or among all."""
    lacks = wish.lacks(snapshot.probabilities)
    if rerank:
        found = reranked(asked, nearest(max(top, RERANKED)), snapshot.vectors, snapshot.manifest.distance)
        return pushed_back(found, lacks, wish.weight * spread_of(found), top)

    def distances_to(positions: NDArray[np.int64]) -> Tensor:
        vectors = torch.from_numpy(snapshot.vectors(positions))
        return pairwise_distances(asked, vectors, snapshot.manifest.distance)

    alive = snapshot.matching(condition)
    return reordered(lacks, np.flatnonzero(alive), wish.weight, top, distances_to, nearest)
