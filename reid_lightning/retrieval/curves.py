"""From a distance to the probability of the same person: a logistic and an isotonic curve.

A probability depends on how often two images show one person before anybody looks, the prior. In a test set that share
is an accident of its size. Both curves are therefore fitted with pairs of one person and pairs of two weighing the same in
total, which is a prior of one half, and `at_prior` moves a probability to any other (Brümmer and du Preez 2006,
"Application-independent evaluation of speaker detection", section 3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from reid_lightning.arguments import as_number
from reid_lightning.errors import InputError
from reid_lightning.retrieval.verification import PairDistances

Floats = NDArray[np.float64]
MOST_KNOTS = 200  # of an isotonic curve
_STEPS, _TINY = 100, 1e-12


class Curve(Protocol):
    """A probability that falls as the distance grows."""

    def probability(self, distances: Floats) -> Floats:
        """Return the probability of the same person, above 0 and below 1, at a prior of one half."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""


@dataclass(frozen=True)
class LogisticCurve:
    """1 / (1 + exp(slope * distance - intercept)).

    Attributes:
        slope: Of the log odds against the distance, in 1 / distance, 0 or more.
        intercept: Log odds at distance 0.
    """

    slope: float
    intercept: float

    @classmethod
    def fit(cls, pairs: PairDistances) -> Self:
        """Fit by maximum likelihood with the targets of Platt 1999 ("Probabilistic outputs for support vector machines").

        His targets are a little below 1 and above 0, so that the curve stays finite where no distances overlap. Newton's
        method with halved steps, as Lin, Lin and Weng 2007 advise. A distance that rises with the same person carries
        nothing that could be used, and its curve is flat.

        Raises:
            InputError: There are no pairs of one person, or none of two.

        Examples:
            >>> curve = LogisticCurve.fit(PairDistances(np.array([0.1, 0.2, 0.3]), np.array([0.7, 0.8, 0.9])))
            >>> curve.probability(np.array([0.0, 0.5, 1.0])).round(2).tolist()
            [0.9, 0.5, 0.1]
        """
        from scipy.special import expit

        x, weights, targets = _weighted(pairs)
        counts = len(pairs.same), len(pairs.different)
        targets = np.where(targets > 0, (counts[0] + 1) / (counts[0] + 2), 1 / (counts[1] + 2))
        center, scale = float(np.average(x, weights=weights)), float(x.std()) or 1.0
        z = (center - x) / scale  # large where the same person is likely

        def cost(a: float, b: float) -> float:
            odds = a * z + b
            return float(weights @ (np.logaddexp(0, odds) - targets * odds))

        a = b = 0.0
        lowest = cost(a, b)
        for _ in range(_STEPS):
            found = expit(a * z + b)
            apart, curved = weights * (found - targets), weights * found * (1 - found)
            gradient = np.array([apart @ z, apart.sum()])
            hessian = np.array([[curved @ z**2, curved @ z], [curved @ z, curved.sum()]])
            step = np.linalg.solve(hessian + _TINY * np.eye(2), gradient)
            length = 1.0
            while (tried := cost(a - length * step[0], b - length * step[1])) > lowest and length > _TINY:
                length /= 2
            gained, lowest = lowest - tried, min(tried, lowest)
            if gained <= 0:
                break
            a, b = a - length * step[0], b - length * step[1]
        if a < 0:
            a, b = 0.0, 0.0
        return cls(float(a / scale), float(b + a * center / scale))

    def probability(self, distances: Floats) -> Floats:
        """Return the probability of the same person at a prior of one half."""
        from scipy.special import expit  # a quarter of a second, which many who load a calibration never need

        found: Floats = expit(self.intercept - self.slope * np.asarray(distances, dtype=np.float64))
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"slope": self.slope, "intercept": self.intercept}

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Return the curve of plain values, which anybody may have written.

        Raises:
            InputError: They are not those of a curve.
        """
        slope, intercept = (_numbers(content, name, 0)[0] for name in ("slope", "intercept"))
        if slope < 0:
            raise InputError(f"the slope of a logistic curve must not be negative, got {slope}")
        return cls(float(slope), float(intercept))


@dataclass(frozen=True, eq=False)
class IsotonicCurve:
    """Straight lines between knots, flat beyond them.

    Attributes:
        distances: (k,) rising.
        probabilities: (k,) falling, above 0 and below 1.
    """

    distances: Floats
    probabilities: Floats

    @classmethod
    def fit(cls, pairs: PairDistances) -> Self:
        """Fit by pooling adjacent violators (Zadrozny and Elkan 2002, "Transforming classifier scores").

        The ends are kept from 0 and 1 by as much as a further pair could move them, 1 / (pairs of the kind + 2).

        Raises:
            InputError: There are no pairs of one person, or none of two.

        Examples:
            >>> curve = IsotonicCurve.fit(PairDistances(np.array([0.1, 0.2, 0.6]), np.array([0.5, 0.8, 0.9])))
            >>> curve.probability(np.array([0.0, 0.55, 1.0])).round(2).tolist()
            [0.8, 0.5, 0.2]
        """
        from scipy.special import logit
        from sklearn.isotonic import IsotonicRegression

        x, weights, targets = _weighted(pairs)
        lowest, highest = 1 / (len(pairs.different) + 2), 1 - 1 / (len(pairs.same) + 2)
        fitted = IsotonicRegression(increasing=False).fit(x, targets, sample_weight=weights)
        knots, values = fitted.X_thresholds_, np.clip(fitted.y_thresholds_, lowest, highest)
        if len(knots) > MOST_KNOTS:  # as many as the steps of the probability need
            spread = np.linspace(0, 1, MOST_KNOTS)
            length = np.concatenate([[0], np.cumsum(np.abs(np.diff(logit(values))))])
            chosen = np.unique(np.searchsorted(length, spread * length[-1]).clip(0, len(knots) - 1))
            knots, values = knots[chosen], values[chosen]
        return cls(knots.astype(np.float64), values.astype(np.float64))

    def probability(self, distances: Floats) -> Floats:
        """Return the probability of the same person at a prior of one half."""
        return np.interp(distances, self.distances, self.probabilities)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"distances": self.distances.tolist(), "probabilities": self.probabilities.tolist()}

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Return the curve of plain values, which anybody may have written.

        Raises:
            InputError: They are not those of a curve.
        """
        knots, values = (_numbers(content, name, 1) for name in ("distances", "probabilities"))
        rises = len(knots) == len(values) > 0 and (np.diff(knots) >= 0).all()
        if not rises or (np.diff(values) > 0).any() or values.min() <= 0 or values.max() >= 1:
            raise InputError(
                "the probabilities of an isotonic curve must fall between 1 and 0 over the distances"
            )
        return cls(knots, values)


def at_prior(probabilities: Floats, prior: float) -> Floats:
    """Move probabilities from a prior of one half to another (Bayes' rule in odds).

    Args:
        probabilities: Above 0 and below 1.
        prior: Share of pairs that show one person before anybody looks, above 0 and below 1.

    Raises:
        InputError: The prior is not between 0 and 1.

    Examples:
        >>> at_prior(np.array([0.5, 0.9]), 0.1).round(3).tolist()
        [0.1, 0.5]
    """
    from scipy.special import expit, logit

    if not 0 < as_number(prior, "The prior") < 1:
        raise InputError(f"The prior must be between 0 and 1, got {prior}.")
    moved: Floats = expit(logit(probabilities) + logit(prior))
    return moved


def log_loss(curve: Curve, pairs: PairDistances) -> float:
    """Return the mean negative log likelihood of pairs, in nats, both kinds weighing the same."""
    same, different = (curve.probability(side) for side in pairs)
    return float(-(np.log(same).mean() + np.log1p(-different).mean()) / 2)


def _weighted(pairs: PairDistances) -> tuple[Floats, Floats, Floats]:
    """Return distances, weights that add up to one half for each kind, and targets."""
    if not len(pairs.same) or not len(pairs.different):
        raise InputError(
            f"A calibration needs pairs of one person and of two, and there are {len(pairs.same)} and "
            f"{len(pairs.different)}."
        )
    weights = [np.full(len(side), 0.5 / len(side)) for side in pairs]
    targets = np.concatenate([np.ones(len(pairs.same)), np.zeros(len(pairs.different))])
    return np.concatenate(pairs), np.concatenate(weights), targets


def _numbers(content: Any, name: str, dimensions: int) -> Floats:
    """Return numbers of plain values as an array, a single number as one of length 1."""
    value = content.get(name) if isinstance(content, Mapping) else None
    items = value if dimensions else [value]
    if not isinstance(items, list) or not all(
        type(item) in (int, float) and abs(item) < 1e12 for item in items
    ):
        raise InputError(f"the {name} of a calibration must be numbers")
    return np.array(items, dtype=np.float64)
