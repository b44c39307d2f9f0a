"""The rank of every true match of every query: what the scores are made of, one by one."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from reid_lightning.retrieval.matches import Integers, Matches
from reid_lightning.retrieval.ranking import ranks_of_matches
from reid_lightning.retrieval.similarities import Comparison


class TrueMatches(NamedTuple):
    """Pairs of a query and a gallery image of its person that the protocol counts, by query and rising rank."""

    query: Integers
    """(M,) positions of the queries."""
    gallery: Integers
    """(M,) rows of the gallery."""
    rank: Integers
    """(M,) from 1."""
    distance: NDArray[np.float32]
    """(M,) before a re-ranking."""


@torch.no_grad()
def true_matches(comparison: Comparison, matches: Matches, chunk_size: int | None = None) -> TrueMatches:
    """Return every true match with its rank, of which `ranking.rank_pairs` makes its scores.

    Args:
        comparison: Of all queries to the gallery.
        matches: Who matches whom.
        chunk_size: Queries at a time; None chooses by the size of the gallery.

    Examples:
        >>> from reid_lightning.retrieval.matches import Side
        >>> from reid_lightning.retrieval.similarities import Similarities
        >>> query = Side(torch.tensor([[1.0, 0.0]]), torch.tensor([7]))
        >>> gallery = Side(torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([7, 3, 7]))
        >>> found = true_matches(Similarities.of(query.vectors, gallery.vectors, "cosine"), Matches.of(query, gallery))
        >>> found.gallery.tolist(), found.rank.tolist(), found.distance.round(2).tolist()
        ([0, 2], [2, 3], [0.4000000059604645, 1.0])
    """
    parts = []
    for queries, chunk in comparison.chunks(chunk_size):
        rows, columns, counted = matches.of_queries(queries)
        same = torch.from_numpy(rows).to(chunk.device), torch.from_numpy(columns).to(chunk.device)
        plain = chunk[same]
        if comparison.reorder is not None:
            removed = torch.from_numpy(~counted).to(chunk.device)
            chunk[same[0][removed], same[1][removed]] = -torch.inf
            comparison.reorder(queries, chunk)
        compared = chunk[same]
        thresholds = (compared - comparison.rounding(same[0] + queries.start, same[1])).cpu().numpy()
        chunk[same] = -torch.inf
        rows, columns, thresholds = rows[counted], columns[counted], thresholds[counted]
        shown = _distances(comparison, queries, rows, plain[torch.from_numpy(counted).to(plain.device)])
        ranks, _, of_row = ranks_of_matches(chunk, rows, thresholds)
        order = np.lexsort((-thresholds, rows))  # the order in which the ranks come
        parts.append((of_row + queries.start, columns[order], ranks, shown[order]))
    query, gallery, rank, distance = (np.concatenate(column) for column in zip(*parts, strict=True))
    return TrueMatches(query, gallery, rank, distance)


def _distances(
    comparison: Comparison, queries: slice, rows: Integers, similarities: torch.Tensor
) -> NDArray[np.float32]:
    """Return distances of single pairs: a table with a line per query, as `Comparison.distances` takes it."""
    count = queries.stop - queries.start
    widest = int(np.bincount(rows, minlength=count).max(initial=0))
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)  # rows rise
    table = similarities.new_zeros(count, max(1, widest))
    at = torch.from_numpy(rows).to(table.device), torch.from_numpy(place).to(table.device)
    table[at] = similarities
    return comparison.distances(queries, table)[at].float().cpu().numpy()
