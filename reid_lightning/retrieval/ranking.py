"""Exact retrieval scores (mAP, mINP, CMC) in bounded memory, from the ranks of the true matches alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.distances import Distance
from reid_lightning.errors import InputError
from reid_lightning.retrieval.counting import Floats, count_below
from reid_lightning.retrieval.matches import CameraPolicy, Integers, Matches, Side
from reid_lightning.retrieval.similarities import PairSimilarities, Similarities


@dataclass(frozen=True, eq=False)
class Ranking:
    """How well each query found its person; NaN marks a query without a true match, which no mean counts.

    All tensors are (Q,), on the CPU, in the order of the queries.
    """

    average_precision: Tensor
    """Mean over the true matches of the precision at their rank (what papers since 2019 report)."""
    trapezoid_ap: Tensor
    """Area under the precision-recall curve by trapezoids (the Market-1501 toolkit)."""
    inp: Tensor
    """Inverse negative penalty: true matches / rank of the last one (Ye et al. 2021, eq. 9)."""
    first_match_rank: Tensor
    """Rank of the first true match, from 1."""
    num_matches: Tensor
    """True matches in the gallery, int64; 0 for a query without any."""
    ap_at: Mapping[int, Tensor] = field(default_factory=dict, kw_only=True)
    """By k: the precisions at the true matches among the first k, summed, over the smaller of k and all true matches
    (AP@k; 1 where nothing wrong comes before what can be found; `average_precision` where k is the gallery's length)."""

    def select(self, queries: Tensor) -> "Ranking":
        """Return the results of some queries, by a mask or by positions."""
        columns = (
            self.average_precision,
            self.trapezoid_ap,
            self.inp,
            self.first_match_rank,
            self.num_matches,
        )
        at_k = {k: values[queries] for k, values in self.ap_at.items()}
        return Ranking(*(column[queries] for column in columns), ap_at=at_k)

    @property
    def mean_ap(self) -> float:
        """Mean of `average_precision` (mAP)."""
        return self.average_precision.nanmean().item()

    @property
    def mean_trapezoid_ap(self) -> float:
        """Mean of `trapezoid_ap`, the mAP of the Market-1501 toolkit."""
        return self.trapezoid_ap.nanmean().item()

    @property
    def mean_inp(self) -> float:
        """Mean of `inp` (mINP)."""
        return self.inp.nanmean().item()

    @property
    def queries_without_match(self) -> int:
        """How many queries were left out of the means."""
        return int((self.num_matches == 0).sum())

    def cmc(self, k: int) -> float:
        """Return the fraction of queries with a true match among their first `k` (Rank-k)."""
        found = self.first_match_rank[self.num_matches > 0]
        return (found <= k).double().mean().item()

    def cmc_curve(self, length: int = 50) -> list[float]:
        """Return `cmc(1), ..., cmc(length)`."""
        return [self.cmc(k) for k in range(1, length + 1)]

    def summary(self, ranks: Sequence[int] = (1, 5, 10, 20)) -> dict[str, float]:
        """Return the means under the names that are logged, as fractions, and the two counts of queries."""
        return {
            "mAP": self.mean_ap,
            **{f"rank{k}": self.cmc(k) for k in ranks},
            **{f"mAP@{k}": values.nanmean().item() for k, values in self.ap_at.items()},
            "mINP": self.mean_inp,
            "mAP_trapezoid": self.mean_trapezoid_ap,
            "queries": float(len(self.num_matches)),
            "queries_without_match": float(self.queries_without_match),
        }


def rank(
    query: Side,
    gallery: Side,
    *,
    distance: Distance = "cosine",
    camera_policy: CameraPolicy = "exclude_same_camera",
    map_at: Sequence[int] = (),
    chunk_size: int | None = None,
) -> Ranking:
    """Rank the gallery for every query and score where the query's person appears.

    Exact in float32 (float64 if the vectors are), on the CPU or a GPU, whatever the autocast state.
    Distances that agree to within their rounding are ties, and a tie is decided against the query: the wrong
    image comes first. Beside the vectors it needs a buffer of 64 MiB (or 256 rows of the gallery's
    length, if that is more).

    Args:
        query: The queries.
        gallery: The gallery.
        distance: "cosine", "euclidean" or "sqeuclidean"; the last two order alike.
        camera_policy: As in `Matches.of`.
        map_at: The k of each `Ranking.ap_at`.
        chunk_size: Queries at a time; None chooses by the size of the gallery.

    Raises:
        ValueError: Lengths or shapes do not fit, or a choice is unknown.
        InputError: A side is empty or not finite, or no query has a true match.

    Examples:
        >>> query = Side(torch.tensor([[1.0, 0.0]]), torch.tensor([7]))
        >>> gallery = Side(torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([7, 3, 7]))
        >>> ranking = rank(query, gallery)
        >>> ranking.first_match_rank.item(), round(ranking.mean_ap, 4)  # ranks 2 and 3: (1/2 + 2/3) / 2
        (2.0, 0.5833)
    """
    similarities = Similarities.of(query.vectors, gallery.vectors, distance)
    return rank_pairs(similarities, Matches.of(query, gallery, camera_policy), chunk_size, map_at)


@torch.no_grad()
def rank_pairs(
    similarities: PairSimilarities,
    matches: Matches,
    chunk_size: int | None = None,
    map_at: Sequence[int] = (),
) -> Ranking:
    """Score any similarities as `rank` does those of vectors.

    Args:
        similarities: Of all queries to the gallery.
        matches: Who matches whom.
        chunk_size: Queries at a time; None chooses by the size of the gallery.
        map_at: The k of each `Ranking.ap_at`.

    Raises:
        InputError: No query has a true match.
    """
    reorder = similarities.reorder
    parts, parts_at = [], []
    for queries, chunk in similarities.chunks(chunk_size):
        rows, columns, counted = matches.of_queries(queries)
        same = torch.from_numpy(rows).to(chunk.device), torch.from_numpy(columns).to(chunk.device)
        if reorder is not None:
            removed = torch.from_numpy(~counted).to(chunk.device)
            chunk[same[0][removed], same[1][removed]] = -torch.inf
            reorder(queries, chunk)
        thresholds = chunk[same] - similarities.rounding(same[0] + queries.start, same[1])
        chunk[same] = -torch.inf  # what remains finite are the wrong images
        ranks = ranks_of_matches(chunk, rows[counted], thresholds.cpu().numpy()[counted])
        parts.append(_scores(*ranks))
        parts_at.append([_average_precision_at(k, *ranks) for k in map_at])
    columns_of_all = (np.concatenate(column) for column in zip(*parts, strict=True))
    at_k = (torch.from_numpy(np.concatenate(column)) for column in zip(*parts_at, strict=True))
    ranking = Ranking(*map(torch.from_numpy, columns_of_all), ap_at=dict(zip(map_at, at_k, strict=True)))
    if ranking.queries_without_match == len(matches.query_ids):
        raise InputError(no_match_message(matches, len(matches.query_ids)))
    return ranking


def ranks_of_matches(
    negatives: Tensor, rows: Integers, thresholds: Floats
) -> tuple[Integers, Integers, Integers]:
    """Rank the matches of each row among its wrong images.

    Args:
        negatives: (chunk, G) similarities, -inf where the image is not a wrong one. Loses its order.
        rows: (M,) row of each match.
        thresholds: (M,) similarity from which on a wrong image comes before the match.

    Returns:
        Ranks of the matches from 1, by row and rising; matches in each row; and the row of each match.
    """
    order = np.lexsort((-thresholds, rows))
    rows, thresholds = rows[order], thresholds[order]
    counts = np.bincount(rows, minlength=len(negatives))
    positions = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
    padded = np.full((len(negatives), int(counts.max())), np.inf, dtype=thresholds.dtype)
    padded[rows, positions] = thresholds
    not_closer = count_below(negatives, padded, counts)[rows, positions]
    return negatives.shape[1] - not_closer + positions + 1, counts, rows


def _scores(ranks: Integers, counts: Integers, rows: Integers) -> tuple[NDArray[Any], ...]:
    """Return the per-query columns of a `Ranking` from the ranks of the matches."""
    ends = counts.cumsum()
    found = np.arange(len(ranks)) - (ends - counts)[rows] + 1
    precision = found / ranks
    # The toolkit's curve starts at precision 1 and drops just before each match.
    before = np.where(ranks > 1, (found - 1) / np.maximum(ranks - 1, 1), 1.0)
    matched = counts > 0
    divisor = np.where(matched, counts, np.nan)

    def mean(values: Floats) -> Floats:
        return np.bincount(rows, values, minlength=len(counts)) / divisor

    first, last = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    first[matched] = ranks[(ends - counts)[matched]]
    last[matched] = ranks[ends[matched] - 1]
    return mean(precision), mean((precision + before) / 2), counts / last, first, counts


def _average_precision_at(k: int, ranks: Integers, counts: Integers, rows: Integers) -> NDArray[Any]:
    """Return `Ranking.ap_at` from the ranks of the matches; NaN for a query without any."""
    found = np.arange(len(ranks)) - (counts.cumsum() - counts)[rows] + 1
    precision = np.where(ranks <= k, found / ranks, 0.0)
    divisor = np.where(counts > 0, np.minimum(counts, k), np.nan)
    return np.bincount(rows, precision, minlength=len(counts)) / divisor


def no_match_message(matches: Matches, num_queries: int) -> str:
    """Say why no query has a true match."""
    present = int(np.isin(matches.query_ids, matches.gallery_ids).sum())
    if not present:
        return (
            f"None of the {num_queries} queries has its person in the gallery; "
            f"check that query and gallery name their identities alike."
        )
    return (
        f"None of the {num_queries} queries has a true match left: {present} have their person in the "
        f"gallery, but only from the query's own camera; check the cameras or set "
        f"evaluation.camera_policy=allow."
    )
