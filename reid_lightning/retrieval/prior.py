"""How many pairs of images show one person when nobody is named, and the distance at which a pair is as likely to as not."""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import logit
from torch import Tensor

from reid_lightning.distances import Distance
from reid_lightning.errors import InputError
from reid_lightning.retrieval.curves import Curve, Floats, LogisticCurve
from reid_lightning.retrieval.similarities import Similarities

MOST_PAIRS = 1_000_000
LEAST = 1e-9  # smallest prior that differs from 0
_MOST_ODDS = 50.0  # logarithm; expit(50) is 1 in float64


def drawn_distances(
    vectors: Tensor, distance: Distance = "cosine", most: int = MOST_PAIRS, seed: int = 0
) -> Floats:
    """Return the distances of all pairs of two images, or of about so many drawn at random.

    Args:
        vectors: (N, D).
        distance: "cosine", "euclidean" or "sqeuclidean".
        most: Pairs, about, that are drawn where there are more.
        seed: The same gives the same draw.

    Raises:
        InputError: There are fewer than two images, or vectors that are not finite.
    """
    if len(vectors) < 2:
        raise InputError("One image has no pairs; give two or more.")
    pairs = Similarities.of(vectors, vectors, distance)
    share = most / (len(vectors) * (len(vectors) - 1) / 2)
    draw, parts = np.random.default_rng(seed), []
    for rows, chunk in pairs.chunks():
        far = pairs.distances(rows, chunk).clamp(min=0).cpu().double().numpy()
        later = np.arange(rows.start, rows.stop)[:, None] < np.arange(len(vectors))[None, :]
        if share < 1:
            later &= draw.random(far.shape, np.float32) < share
        parts.append(far[later])
    return np.concatenate(parts)


def estimated_prior(curve: Curve, distances: Floats) -> float:
    """Return the share of pairs that show one person, from their distances alone.

    It is the maximum of the likelihood of a mixture whose two parts the curve compares, to which the expectation
    maximization of Saerens, Latinne and Decaestecker 2002 ("Adjusting the outputs of a classifier to new a priori
    probabilities", eq. 2.9) converges; the likelihood is concave, and its maximum is found as the root of its slope.

    Args:
        curve: What the model's distances mean, at a prior of one half.
        distances: (n,) of pairs of images of which nothing is known.

    Returns:
        From 0 to 1.

    Raises:
        InputError: There are no distances.

    Examples:
        >>> curve = LogisticCurve(slope=200.0, intercept=100.0)  # one person within 0.5
        >>> round(estimated_prior(curve, np.array([0.1, 0.9, 0.8, 0.7])), 3)
        0.25
    """
    if not len(distances):
        raise InputError("There are no pairs whose prior could be estimated; give two images or more.")
    odds = np.clip(logit(curve.probability(np.asarray(distances, np.float64))), -_MOST_ODDS, _MOST_ODDS)
    ratio = np.expm1(odds)  # of the densities, less 1

    def slope(prior: float) -> float:
        return float(np.mean(ratio / (1 + prior * ratio)))

    if slope(LEAST) <= 0:
        return 0.0
    if slope(1 - LEAST) >= 0:
        return 1.0
    return float(brentq(slope, LEAST, 1 - LEAST, xtol=1e-12))


def even_distance(curve: LogisticCurve, prior: float) -> float:
    """Return the distance at which a pair is as likely to show one person as not; 0 where none is near enough.

    Raises:
        InputError: The curve is flat: distances say nothing.

    Examples:
        >>> even_distance(LogisticCurve(slope=10.0, intercept=5.0), prior=0.5)
        0.5
    """
    if curve.slope <= 0:
        raise InputError(
            "The model's distances say nothing of who is who: give --threshold, or train it longer."
        )
    if not 0 < prior < 1:
        return 0.0 if prior <= 0 else math.inf
    return max(0.0, (curve.intercept + float(logit(prior))) / curve.slope)
