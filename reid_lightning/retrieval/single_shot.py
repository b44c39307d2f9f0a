"""Single-shot galleries: one random image of each person, drawn again and again, and the mean of the scores.

VIPeR, CUHK01 and CUHK03's own protocol report so (Li et al., "DeepReID", CVPR 2014): a query has one true match.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.distances import Distance
from reid_lightning.errors import InputError
from reid_lightning.retrieval.matches import CameraPolicy, Integers, Matches, Side
from reid_lightning.retrieval.ranking import Ranking, no_match_message
from reid_lightning.retrieval.similarities import Similarities


@dataclass(frozen=True, eq=False)
class SingleShotRanking(Ranking):
    """A ranking in each of several draws of the gallery; per-query columns are means over the draws."""

    match_ranks: Tensor
    """(draws, Q) rank of the true match, from 1; NaN for a query without any."""

    def cmc(self, k: int) -> float:
        """Return the mean over the draws of Rank-k."""
        return self._cmc_of_draws(k).mean().item()

    def summary(self, ranks: Sequence[int] = (1, 5, 10, 20)) -> dict[str, float]:
        """Return the means and, from two draws on, their standard deviation over the draws as `NAME_std`."""
        means = super().summary(ranks)
        if len(self.match_ranks) < 2:
            return means
        draws = {"mAP": (1 / self.match_ranks).nanmean(dim=1)}
        draws |= {f"rank{k}": self._cmc_of_draws(k) for k in ranks}
        return means | {f"{name}_std": values.std().item() for name, values in draws.items()}

    def _cmc_of_draws(self, k: int) -> Tensor:
        return (self.match_ranks[:, self.num_matches > 0] <= k).double().mean(dim=1)


@torch.no_grad()
def rank_single_shot(
    query: Side,
    gallery: Side,
    *,
    draws: int,
    seed: int = 0,
    distance: Distance = "cosine",
    camera_policy: CameraPolicy = "exclude_same_camera",
    chunk_size: int | None = None,
) -> SingleShotRanking:
    """Rank galleries of one random image of each identity.

    Draw i gives every gallery image a random priority, by `numpy.random.default_rng([seed, i])` in the order of the
    rows, and takes the image of each identity that has the highest. For a query's own identity it is the highest
    of those that the camera policy leaves, so a query keeps its match in every draw. Ties are decided as in
    `ranking.rank`.

    Args:
        query: The queries.
        gallery: The gallery.
        draws: Number of galleries.
        seed: Another seed draws other galleries.
        distance: "cosine", "euclidean" or "sqeuclidean".
        camera_policy: "exclude_same_camera" or "allow".
        chunk_size: Queries at a time; None chooses by the size of the gallery.

    Raises:
        ValueError: draws is below 1, or as in `ranking.rank`.
        InputError: As in `ranking.rank`.

    Examples:
        >>> query = Side(torch.tensor([[0.0]]), torch.tensor([7]))
        >>> ids = torch.tensor([7, 7, 8, 8])  # the match at 1 or 4, the wrong image at 2 or 3
        >>> gallery = Side(torch.tensor([[1.0], [4.0], [2.0], [3.0]]), ids)
        >>> ranking = rank_single_shot(query, gallery, draws=1000, distance="euclidean")
        >>> round(ranking.cmc(1), 1), ranking.cmc(2)
        (0.5, 1.0)
    """
    if draws < 1:
        raise ValueError(f"draws must be >= 1, got {draws}")
    similarities = Similarities.of(query.vectors, gallery.vectors, distance)
    matches = Matches.of(query, gallery, camera_policy)
    priorities = np.stack([np.random.default_rng([seed, draw]).random(len(gallery)) for draw in range(draws)])
    drawn = np.stack([_highest(matches.gallery_ids, priority) for priority in priorities])
    parts = []
    for queries, chunk in similarities.chunks(chunk_size):
        rows, columns, counted = matches.of_queries(queries)
        same = torch.from_numpy(rows).to(chunk.device), torch.from_numpy(columns).to(chunk.device)
        thresholds = (chunk[same] - similarities.rounding(same[0] + queries.start, same[1]))[counted]
        chunk[same] = -torch.inf  # what remains finite are the wrong images
        rows, columns = rows[counted], columns[counted]
        ranks = np.full((draws, len(chunk)), np.nan)
        for draw in range(draws):
            pairs = _highest(rows, priorities[draw][columns])
            closer = chunk[rows[pairs]][:, drawn[draw]] >= thresholds[pairs, None]
            ranks[draw, rows[pairs]] = 1 + closer.sum(dim=1).cpu().numpy()
        parts.append(ranks)
    ranking = _mean_over_draws(np.concatenate(parts, axis=1))
    if ranking.queries_without_match == len(query):
        raise InputError(no_match_message(matches, len(query)))
    return ranking


def _highest(groups: Integers, values: NDArray[np.float64]) -> Integers:
    """Return the position of the largest value of each group, in the order of the groups."""
    order = np.lexsort((values, groups))
    return order[np.flatnonzero(np.diff(groups[order], append=groups.max(initial=0) + 1))]


def _mean_over_draws(ranks: NDArray[np.float64]) -> SingleShotRanking:
    """Return the columns of a ranking; with one match at rank r, AP and INP are 1 / r."""
    precision = 1 / ranks
    # The toolkit's curve starts at precision 1 and drops to 0 just before a match that is not the first.
    trapezoid = np.where(ranks == 1, 1.0, precision / 2)
    mean_precision = torch.from_numpy(precision.mean(axis=0))
    return SingleShotRanking(
        average_precision=mean_precision,
        trapezoid_ap=torch.from_numpy(trapezoid.mean(axis=0)),
        inp=mean_precision,
        first_match_rank=torch.from_numpy(ranks.mean(axis=0)),
        num_matches=torch.from_numpy((~np.isnan(ranks[0])).astype(np.int64)),
        match_ranks=torch.from_numpy(ranks),
    )
