"""Exact neighbors among vectors that lie in blocks on a disk, in memory that does not grow with their number."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.distances import Distance, exact_products, promote, unit_vectors
from reid_lightning.errors import InputError
from reid_lightning.retrieval.neighbours import Neighbours, largest

FEW = 8  # queries that are compared one at a time: each reads a part of the vectors that lies in the processor's cache
FEW_ROWS, MANY_ROWS = 1 << 17, 1 << 13  # vectors looked at before the best are chosen
MEMBERS = 16  # vectors of a group, whose best tells whether any of them can be found
CACHED_ROWS = 1 << 10  # vectors that stay in the processor's cache
QUERIES = 1024  # compared at a time where there are many
UNIT = 4 * float(
    np.finfo(np.float32).eps
)  # from 1, of the squared lengths of what scaling to length 1 leaves

Vectors = NDArray[np.floating[Any]]


class Block(NamedTuple):
    """Vectors that follow those of the block before."""

    vectors: Vectors
    """(n, D) float32 or float16, which may be memory-mapped."""
    squares: NDArray[np.float32]
    """(n,) squared lengths of the vectors as they stand there."""
    allowed: NDArray[np.bool_] | None = None
    """(n,) which may be found; None: all."""


class _Part(NamedTuple):
    """Rows of a block that are compared at once."""

    vectors: Vectors
    squares: NDArray[np.float32]
    rows: NDArray[np.int64] | None
    """Which rows of the block these are; None: all from the part's first on."""
    removed: NDArray[np.bool_] | None


def squared_lengths(vectors: Vectors) -> NDArray[np.float32]:
    """Return the (n,) squared lengths of (n, D) vectors, computed in float32.

    Examples:
        >>> squared_lengths(np.array([[3, 4], [0, 1]], np.float16))
        array([25.,  1.], dtype=float32)
    """
    rows = np.asarray(vectors, np.float32)
    return np.asarray(np.vecdot(rows, rows), np.float32)


@torch.no_grad()
def nearest_in_blocks(
    query: Tensor, blocks: Iterable[Block], k: int, distance: Distance = "cosine"
) -> Neighbours:
    """Find the `k` nearest of all blocks' vectors for each query; at equal distance the earlier row comes first.

    Every vector is read once, whatever the number of queries. Sums run in float32.

    Args:
        query: (Q, D).
        blocks: The vectors, all of the width D.
        k: Number of results for each image.
        distance: "cosine", "euclidean" or "sqeuclidean".

    Returns:
        On the CPU, always `k` columns: where there are fewer vectors, indices are -1 and distances infinite. Rows are
        counted through all blocks.

    Raises:
        ValueError: k is below 1, the distance is unknown, or shapes do not fit.
        InputError: A query is not finite.

    Examples:
        >>> vectors = np.array([[1, 0], [0, 1], [1, 1]], np.float16)
        >>> blocks = [Block(part, squared_lengths(part)) for part in (vectors[:2], vectors[2:])]
        >>> nearest_in_blocks(torch.tensor([[2.0, 1.9]]), blocks, 2).indices.tolist()
        [[2, 0]]
    """
    if k < 1:
        raise ValueError(f"k must be >= 1, got {k}")
    if distance not in get_args(Distance):
        raise ValueError(f"distance must be one of {', '.join(get_args(Distance))}, got {distance}")
    if query.ndim != 2:
        raise ValueError(f"query must be a table with a row per vector, got the shape {tuple(query.shape)}")
    asked = promote(query.detach().cpu()).float()
    if not asked.isfinite().all():
        bad = int(asked.isfinite().all(dim=1).logical_not().nonzero()[0])
        raise InputError(f"Query vector {bad} is not finite; the model has diverged, or a cast overflowed.")
    asked = unit_vectors(asked) if distance == "cosine" else asked
    values = torch.full((len(asked), k), -torch.inf)
    indices = torch.full((len(asked), k), -1, dtype=torch.int64)
    few = len(asked) <= FEW
    first = 0
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for block in blocks:
            if block.vectors.shape[1] != asked.shape[1]:
                raise ValueError(
                    f"queries of {asked.shape[1]} numbers do not fit vectors of {block.vectors.shape[1]}"
                )
            for start, part in _parts(block, FEW_ROWS if few else MANY_ROWS):
                if few:
                    _compare_few(asked, part, distance, first + start, values, indices, pool)
                else:
                    _compare_many(asked, part, distance, first + start, values, indices)
            first += len(block.vectors)
    distances = _as_distances(values, asked, distance)
    return Neighbours(indices, distances.masked_fill(indices < 0, torch.inf))


def _parts(block: Block, size: int) -> Iterator[tuple[int, _Part]]:
    """Yield parts of a block with the row that each starts at; of a part that is mostly removed only the rest."""
    for start in range(0, len(block.vectors), size):
        rows = slice(start, start + size)
        vectors, squares = block.vectors[rows], block.squares[rows]
        if block.allowed is None:
            yield start, _Part(vectors, squares, None, None)
            continue
        allowed = block.allowed[rows]
        left = int(allowed.sum())
        if 2 * left < len(allowed):
            if left:
                kept = np.flatnonzero(allowed)
                yield start, _Part(vectors[kept], squares[kept], kept, None)
        else:
            yield start, _Part(vectors, squares, None, None if left == len(allowed) else ~allowed)


def _compare_few(
    asked: Tensor,
    part: _Part,
    distance: Distance,
    first: int,
    values: Tensor,
    indices: Tensor,
    pool: ThreadPoolExecutor,
) -> None:
    """Merge the best of a part into (Q, k) values and indices, in place."""
    count, k = len(part.vectors), values.shape[1]
    queries = asked.numpy()
    similarities = np.empty((len(asked), count), np.float32)
    step = max(CACHED_ROWS, -(-count // torch.get_num_threads()))

    def products(begin: int) -> None:
        end = min(begin + step, count)
        buffer = torch.empty(min(CACHED_ROWS, count), asked.shape[1])
        for start in range(begin, end, CACHED_ROWS):
            rows = slice(start, min(start + CACHED_ROWS, end))
            cached = part.vectors[rows]
            if cached.dtype != np.float32:  # torch converts ten times as fast as numpy
                cached = buffer[: len(cached)].copy_(torch.from_numpy(cached)).numpy()
            for row, one in enumerate(queries):
                # A ufunc that reads as fast as the memory gives; a matrix times one vector takes twice as long.
                np.vecdot(cached, one, out=similarities[row, rows])

    list(pool.map(products, range(0, count, step)))
    _scale(torch.from_numpy(similarities), part, distance)
    for row in range(len(asked)):
        found = similarities[row]
        places = np.flatnonzero(found > float(values[row, -1]))
        if len(places) > 4 * k:
            places = largest(torch.from_numpy(found)[None], min(k, count))[0].sort().values.numpy()
        if not len(places):
            continue
        fresh = torch.from_numpy(places if part.rows is None else part.rows[places]) + first
        _merge(
            values[row : row + 1],
            indices[row : row + 1],
            torch.from_numpy(found[places])[None],
            fresh[None],
        )


def _compare_many(
    asked: Tensor, part: _Part, distance: Distance, first: int, values: Tensor, indices: Tensor
) -> None:
    """Merge the best of a part into (Q, k) values and indices, in place, by matrix products."""
    vectors = torch.from_numpy(part.vectors).float()
    buffer = torch.empty(len(vectors) * min(QUERIES, len(asked)))
    kept = None if part.rows is None else torch.from_numpy(part.rows)
    for start in range(0, len(asked), QUERIES):
        rows = slice(start, start + QUERIES)
        chunk = asked[rows]
        products = buffer[: len(vectors) * len(chunk)].view(len(vectors), len(chunk))
        with exact_products(products.device):
            torch.mm(
                vectors, chunk.T, out=products
            )  # with queries as columns, groups of vectors are whole lines
        _scale(products.T, part, distance)
        columns = _promising(products, values[rows, -1:], min(values.shape[1], len(vectors)))
        if columns is not None:
            fresh = (columns if kept is None else kept[columns]) + first
            _merge(values[rows], indices[rows], products.T.gather(1, columns), fresh)


def _promising(products: Tensor, floor: Tensor, k: int) -> Tensor | None:
    """Return, for each query, the (q, m) rows that may hold one of the `k` largest values above its floor (q, 1).

    The products are (n, q). Rows are in their order, or by value with earlier rows first among equals. None: there are no
    such values.
    """
    groups = len(products) // MEMBERS
    if groups * MEMBERS == len(products) and k < groups:
        maxima = products.view(MEMBERS, groups, -1).amax(dim=0).T.contiguous()
        most = min(int((maxima > floor).sum(dim=1).amax()), k)
        if not most:
            return None
        best = maxima.topk(most + 1, dim=1)
        # A group that is left out may hold an earlier one of several equal values.
        if most < k or bool((best.values[:, -1] < best.values[:, -2]).all()):
            chosen = best.indices[:, :most].sort(dim=1).values
            return (torch.arange(MEMBERS)[:, None] * groups + chosen[:, None, :]).flatten(1)
    return largest(products.T.contiguous(), k)


def _scale(products: Tensor, part: _Part, distance: Distance) -> None:
    """Turn (q, n) products into similarities that fall as the distance grows, in place; -inf for what is removed."""
    squares = torch.from_numpy(part.squares)
    if distance == "cosine":
        if not bool(((squares - 1).abs() <= UNIT).all()):
            products *= torch.where(squares > 0, squares, 1).rsqrt()
    else:
        products.mul_(2).sub_(squares)
    if part.removed is not None:
        products[:, torch.from_numpy(part.removed)] = -torch.inf


def _merge(values: Tensor, indices: Tensor, new_values: Tensor, new_indices: Tensor) -> None:
    """Keep the largest of (q, k) values and of new ones of later rows, in place."""
    both = torch.cat([values, new_values], dim=1)
    order = largest(both, values.shape[1])
    kept = both.gather(1, order)
    places = torch.cat([indices, new_indices], dim=1).gather(1, order)
    values.copy_(kept)
    indices.copy_(places.masked_fill(kept.isneginf(), -1))


def _as_distances(similarities: Tensor, asked: Tensor, distance: Distance) -> Tensor:
    if distance == "cosine":
        return (1 - similarities).clamp(min=0)
    squared = (asked.square().sum(dim=1, keepdim=True) - similarities).clamp(min=0)
    return squared if distance == "sqeuclidean" else squared.sqrt()
