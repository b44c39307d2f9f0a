"""Scores of some of the queries: those of one camera, or those that share an attribute."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_lightning.retrieval.statistics import mean_interval

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class SubsetScores:
    """Scores of queries with a true match, as fractions."""

    queries: int
    mean_ap: float
    rank1: float
    interval: tuple[float, float] | None
    """95 % interval of the mAP over people; None of fewer than two."""
    rank1_interval: tuple[float, float] | None


def subset_scores(precision: Floats, hits: Floats, people: NDArray[np.generic]) -> SubsetScores | None:
    """Return the scores of some queries; None if none of them has a true match.

    Args:
        precision: (Q,) average precision; NaN without a true match.
        hits: (Q,) 1 where the nearest image is right and 0 where not; NaN without a true match.
        people: (Q,) whom they show, of any type that sorts.

    Examples:
        >>> subset_scores(np.array([0.5, 1.0, np.nan]), np.array([0.0, 1.0, np.nan]), np.array([7, 7, 8]))
        SubsetScores(queries=2, mean_ap=0.75, rank1=0.5, interval=None, rank1_interval=None)
    """
    known = np.isfinite(precision)
    if not known.any():
        return None
    return SubsetScores(
        int(known.sum()),
        float(precision[known].mean()),
        float(hits[known].mean()),
        mean_interval(precision, people),
        mean_interval(hits, people),
    )
