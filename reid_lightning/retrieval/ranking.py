"""Exact retrieval scores (mAP, mINP, CMC) in bounded memory, from the ranks of the true matches alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reid_lightning.distances import Metric
from reid_lightning.errors import InputError
from reid_lightning.retrieval.matches import CameraPolicy, Matches
from reid_lightning.retrieval.similarities import Similarities


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
            "mINP": self.mean_inp,
            "mAP_trapezoid": self.mean_trapezoid_ap,
            "queries": float(len(self.num_matches)),
            "queries_without_match": float(self.queries_without_match),
        }


@torch.no_grad()
def rank(
    query: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cameras: Tensor | None = None,
    gallery_cameras: Tensor | None = None,
    *,
    metric: Metric = "cosine",
    camera_policy: CameraPolicy = "exclude_same_camera",
    chunk_size: int | None = None,
) -> Ranking:
    """Rank the gallery for every query and score where the query's person appears.

    Exact in float32 (float64 if the features are), on the CPU or a GPU, whatever the autocast state.
    Distances that agree to within their rounding are ties, and a tie is decided against the query: the wrong
    image comes first. Beside a copy of the features it needs a buffer of 16 MiB (or 64 rows of the gallery's
    length, if that is more).

    Args:
        query: (Q, D).
        gallery: (G, D).
        query_ids: (Q,) integer identities.
        gallery_ids: (G,).
        query_cameras: (Q,) integer cameras, -1 where unknown (never the same as another); None: all unknown.
        gallery_cameras: (G,).
        metric: "cosine", "euclidean" or "sqeuclidean"; the last two order alike.
        camera_policy: "exclude_same_camera" removes gallery images of the query's person from the query's
            camera, "allow" keeps them.
        chunk_size: Queries at a time; None chooses by the size of the gallery.

    Raises:
        InputError: An empty table, no query with a true match, values that are not finite, or tables whose
            lengths do not fit.

    Example:
        >>> query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]])
        >>> ranking = rank(query, gallery, torch.tensor([7]), torch.tensor([7, 3, 7]))
        >>> ranking.first_match_rank.item(), round(ranking.mean_ap, 4)  # ranks 2 and 3: (1/2 + 2/3) / 2
        (2.0, 0.5833)
    """
    similarities = Similarities.of(query, gallery, metric)
    matches = Matches.of(
        query_ids,
        gallery_ids,
        query_cameras,
        gallery_cameras,
        camera_policy=camera_policy,
        lengths=(len(query), len(gallery)),
        device=similarities.query.device,
    )
    parts = []
    for queries, chunk in similarities.chunks(chunk_size):
        rows, columns, counted = matches.of_queries(queries)
        values = chunk[rows, columns]
        chunk[rows, columns] = -torch.inf  # what remains finite are the wrong images
        rows, columns, values = rows[counted], columns[counted], values[counted]
        thresholds = values - similarities.rounding(rows + queries.start, columns)
        ranks, rows, positions = _ranks_of_matches(chunk, rows, thresholds)
        parts.append(_scores(ranks.cpu(), rows.cpu(), positions.cpu(), len(chunk)))
    ranking = Ranking(*(torch.cat(column) for column in zip(*parts, strict=True)))
    if ranking.queries_without_match == len(query):
        raise InputError(_no_match_message(matches, len(query)))
    return ranking


def _ranks_of_matches(negatives: Tensor, rows: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (ranks, rows, positions among the row's matches) of all matches, by row and rank, all from 1 on.

    `negatives` (chunk, G) loses its order.
    """
    thresholds, order = thresholds.sort(descending=True)
    rows, by_row = rows[order].sort(stable=True)
    thresholds = thresholds[by_row]
    counts = torch.bincount(rows, minlength=len(negatives))
    positions = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    padded = thresholds.new_zeros(len(negatives), int(counts.max()))
    padded[rows, positions] = thresholds
    not_closer = torch.searchsorted(_sorted_rows(negatives), padded)[rows, positions]
    return negatives.shape[1] - not_closer + positions + 1, rows, positions + 1


def _sorted_rows(values: Tensor) -> Tensor:
    """Sort each row ascending; in place on the CPU, where numpy sorts twenty times faster than torch."""
    if values.device.type != "cpu":
        return values.sort(dim=1).values
    values.numpy().sort(axis=1)  # on one core: the others still spin in wait for the next product
    return values


def _scores(ranks: Tensor, rows: Tensor, positions: Tensor, num_queries: int) -> tuple[Tensor, ...]:
    """Return the per-query columns of a `Ranking` from the ranks of the matches, sorted by row and rank."""
    counts = torch.bincount(rows, minlength=num_queries)
    ends = counts.cumsum(0)
    precision = positions.double() / ranks
    # The toolkit's curve starts at precision 1 and drops just before each match.
    before = torch.where(ranks > 1, (positions - 1).double() / (ranks - 1).clamp(min=1), 1.0)

    def mean(values: Tensor) -> Tensor:
        return torch.zeros(num_queries, dtype=torch.float64).index_add_(0, rows, values) / counts

    missing = torch.full((num_queries,), torch.nan, dtype=torch.float64)
    first, last = missing.clone(), missing.clone()
    matched = counts > 0
    first[matched] = ranks[(ends - counts)[matched]].double()
    last[matched] = ranks[ends[matched] - 1].double()
    return mean(precision), mean((precision + before) / 2), counts / last, first, counts


def _no_match_message(matches: Matches, num_queries: int) -> str:
    present = int(torch.isin(matches.query_ids, matches.gallery_ids).sum())
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
