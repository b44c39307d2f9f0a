"""How far stated probabilities are from what is measured: the reliability diagram as numbers, and one number for it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_lightning.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reliability:
    """Pairs in bins of the stated probability; NaN where a bin holds none.

    Attributes:
        edges: (B + 1,) of the bins, from 0 to 1.
        stated: (B,) mean stated probability.
        measured: (B,) share of pairs of one person.
        weights: (B,) share of all pairs, which add up to 1.
        counts: (B,) int64 pairs.
    """

    edges: Floats
    stated: Floats
    measured: Floats
    weights: Floats
    counts: NDArray[np.int64]

    @property
    def error(self) -> float:
        """The expected calibration error: mean distance of stated from measured probability, by the bins' shares.

        (Naeini, Cooper and Hauskrecht 2015, "Obtaining well calibrated probabilities using Bayesian binning", eq. 1.)
        """
        return float(np.nansum(self.weights * np.abs(self.stated - self.measured)))


def reliability(
    probabilities: NDArray[np.floating],
    same: NDArray[np.bool_],
    prior: float | None = None,
    bins: int = 15,
) -> Reliability:
    """Compare stated probabilities with the truth.

    Args:
        probabilities: (N,) from 0 to 1.
        same: (N,) whether a pair shows one person.
        prior: Share that pairs of one person are to have, whatever their number; None leaves them as they are.
        bins: Of equal width.

    Raises:
        InputError: There are no pairs, or none of one kind although a prior is given.

    Examples:
        >>> found = reliability(np.array([0.05, 0.15, 0.95, 0.85]), np.array([False, True, True, True]), bins=2)
        >>> found.stated.round(2).tolist(), found.measured.tolist(), round(found.error, 2)
        ([0.1, 0.9], [0.5, 1.0], 0.25)
    """
    stated, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(same, dtype=bool)
    kinds = int(truth.sum()), int((~truth).sum())
    if not len(truth) or (prior is not None and 0 in kinds):
        raise InputError(
            f"Reliability needs pairs of one person and of two, and there are {kinds[0]} and {kinds[1]}."
        )
    share = kinds[0] / len(truth) if prior is None else prior
    weights = np.where(truth, share / max(kinds[0], 1), (1 - share) / max(kinds[1], 1))
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, stated, side="left") - 1, 0, bins - 1)
    weight, said, true = (
        np.bincount(place, values, minlength=bins).astype(np.float64)
        for values in (weights, weights * stated, weights * truth)
    )
    filled = np.where(weight > 0, weight, np.nan)
    counts = np.bincount(place, minlength=bins).astype(np.int64)
    return Reliability(edges, said / filled, true / filled, weight, counts)
