"""Verification: how well a distance tells pairs of the same person from pairs of two people."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from reid_lightning.distances import Distance
from reid_lightning.errors import InputError, require
from reid_lightning.retrieval.matches import CameraPolicy, Matches, Side
from reid_lightning.retrieval.similarities import Similarities

Floats = NDArray[np.float64]
MOST_DIFFERENT = 5_000_000  # pairs of two people that are kept: 500 of them at a false accept rate of 1e-4
FALSE_ACCEPTS = (1e-1, 1e-2, 1e-3, 1e-4)
LEAST_ACCEPTED = 10  # pairs of two people; a rate of fewer says little


class PairDistances(NamedTuple):
    """Distances of the pairs that a protocol compares."""

    same: Floats
    """(S,) of pairs of one person."""
    different: Floats
    """(D,) of pairs of two people."""


class AcceptRate(NamedTuple):
    """What a threshold on the distance gives."""

    false_accepts: float
    """Largest share of the pairs of two people that may be accepted (FAR, or FMR)."""
    threshold: float
    """Largest distance at which a pair is accepted."""
    true_accepts: float
    """Share of the pairs of one person that are accepted (TAR)."""


class Curve(NamedTuple):
    """The ROC curve, a point for every threshold that matters, from the smallest on."""

    thresholds: Floats
    """(n,) distances up to which pairs are accepted; the first accepts none."""
    false_accepts: Floats
    """(n,) share of the pairs of two people, from 0 to 1."""
    true_accepts: Floats
    """(n,) share of the pairs of one person, from 0 to 1."""


@torch.no_grad()
def pair_distances(
    query: Side,
    gallery: Side,
    *,
    distance: Distance = "cosine",
    camera_policy: CameraPolicy = "exclude_same_camera",
    most_different: int = MOST_DIFFERENT,
    seed: int = 0,
) -> PairDistances:
    """Return the distances of all pairs of a query and a gallery image.

    Args:
        query: The queries.
        gallery: The gallery; what shows nobody in particular is a pair of two people with every query.
        distance: "cosine", "euclidean" or "sqeuclidean".
        camera_policy: As in `Matches.of`: which pairs of one person are left out.
        most_different: Pairs of two people that are kept, drawn at random where there are more.
        seed: The same gives the same draw.

    Raises:
        ValueError: Lengths or shapes do not fit, or a choice is unknown.
        InputError: A side is empty or not finite.

    Examples:
        >>> side = Side(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([7, 7, 8]))
        >>> found = pair_distances(side.select(torch.tensor([0])), side, distance="euclidean")
        >>> found.same.tolist(), found.different.tolist()
        ([0.0, 1.0], [5.0])
    """
    matches = Matches.of(query, gallery, camera_policy)
    pairs = Similarities.of(query.vectors, gallery.vectors, distance)
    share = most_different / max(1, len(query) * len(gallery))
    draw = np.random.default_rng(seed)
    same: list[Floats] = []
    different: list[Floats] = []
    for queries, chunk in pairs.chunks():
        far = pairs.distances(queries, chunk).cpu().double().numpy()
        rows, columns, counted = matches.of_queries(queries)
        same.append(far[rows[counted], columns[counted]])
        others = np.ones(far.shape, dtype=bool) if share >= 1 else draw.random(far.shape, np.float32) < share
        others[rows, columns] = False
        different.append(far[others])
    return PairDistances(np.concatenate(same), np.concatenate(different))


def threshold_at(different: Floats, false_accepts: float) -> float:
    """Return the largest distance that accepts no larger share of some wrong pairs; infinite where all may be accepted.

    Wrong pairs at equal distances are accepted together or not at all.

    Args:
        different: (D,) distances in rising order.
        false_accepts: The share, from 0 to 1.

    Examples:
        >>> threshold_at(np.array([0.1, 0.2, 0.2, 0.4]), 0.5) < 0.2
        True
    """
    allowed = int(np.floor(false_accepts * len(different) + 1e-9))  # 0.29 x 100 is 28.999...
    return np.inf if allowed >= len(different) else float(np.nextafter(different[allowed], -np.inf))


def accept_rates(pairs: PairDistances, false_accepts: Sequence[float] = FALSE_ACCEPTS) -> list[AcceptRate]:
    """Return the true accept rates at given false accept rates (TAR at FAR).

    Args:
        pairs: Distances of both kinds of pairs.
        false_accepts: Rates asked for, each from 0 to 1. One that `LEAST_ACCEPTED` pairs of two people cannot show is
            left out.

    Raises:
        ValueError: A rate is not between 0 and 1.
        InputError: There are no pairs of one person, or none of two.

    Examples:
        >>> pairs = PairDistances(np.array([0.1, 0.6]), np.linspace(0.3, 1.3, 101))
        >>> [(rate.false_accepts, rate.true_accepts) for rate in accept_rates(pairs)]
        [(0.1, 0.5)]
    """
    same, different = _sorted(pairs)
    rates = []
    for rate in false_accepts:
        require(0 <= rate <= 1, "false_accepts", "between 0 and 1", rate)
        threshold = threshold_at(different, rate)
        if rate * len(different) >= LEAST_ACCEPTED:
            accepted = np.searchsorted(same, threshold, side="right") / len(same)
            rates.append(AcceptRate(rate, threshold, float(accepted)))
    return rates


def roc(pairs: PairDistances) -> Curve:
    """Return the ROC curve of a distance.

    Raises:
        InputError: There are no pairs of one person, or none of two.

    Examples:
        >>> roc(PairDistances(np.array([0.1, 0.3]), np.array([0.3, 0.5]))).true_accepts.tolist()
        [0.0, 0.5, 1.0, 1.0]
    """
    same, different = _sorted(pairs)
    thresholds = np.unique(np.concatenate([same, different]))
    accepted = (np.searchsorted(side, thresholds, side="right") / len(side) for side in (different, same))
    false, true = (np.concatenate([[0.0], share]) for share in accepted)
    return Curve(np.concatenate([[-np.inf], thresholds]), false, true)


def equal_error_rate(curve: Curve) -> float:
    """Return the rate at which as many pairs of two people are accepted as pairs of one person are rejected (EER).

    Between two points the curve is a straight line.

    Examples:
        >>> equal_error_rate(roc(PairDistances(np.array([0.1, 0.3]), np.array([0.2, 0.5]))))
        0.5
    """
    false, rejected = curve.false_accepts, 1 - curve.true_accepts
    after = int(np.argmax(false >= rejected))  # the last point accepts everything, so there is one
    before = after - 1  # the first accepts nothing, so it is not that
    gaps = rejected[before] - false[before], false[after] - rejected[after]
    part = gaps[0] / (gaps[0] + gaps[1])
    return float(false[before] + part * (false[after] - false[before]))


def area_under(curve: Curve) -> float:
    """Return the area under the ROC curve: how often a pair of one person is nearer than one of two."""
    return float(np.trapezoid(curve.true_accepts, curve.false_accepts))


def verification_scores(
    pairs: PairDistances, false_accepts: Sequence[float] = FALSE_ACCEPTS
) -> dict[str, float]:
    """Return what is reported of verification, as fractions, with the numbers of pairs.

    Args:
        pairs: Distances of both kinds of pairs.
        false_accepts: As of `accept_rates`.

    Returns:
        `eer`, `auc`, `same_pairs`, `different_pairs`, and for each rate such as 1e-3 `tar_at_1e-3` and `threshold_at_1e-3`.

    Raises:
        InputError: There are no pairs of one person, or none of two.
    """
    curve = roc(pairs)
    scores = {
        "eer": equal_error_rate(curve),
        "auc": area_under(curve),
        "same_pairs": float(len(pairs.same)),
        "different_pairs": float(len(pairs.different)),
    }
    for rate in accept_rates(pairs, false_accepts):
        key = rate_name(rate.false_accepts)
        scores |= {f"tar_at_{key}": rate.true_accepts, f"threshold_at_{key}": rate.threshold}
    return scores


def rate_name(rate: float) -> str:
    """Return a rate as it stands in the names of scores.

    Examples:
        >>> rate_name(0.001), rate_name(0.05)
        ('1e-3', '5e-2')
    """
    return f"{rate:.0e}".replace("e-0", "e-")


def _sorted(pairs: PairDistances) -> tuple[Floats, Floats]:
    same, different = (np.sort(side) for side in pairs)
    if not len(same) or not len(different):
        raise InputError(
            f"Verification needs pairs of one person and of two, and there are {len(same)} and {len(different)}; check "
            "the cameras or the identities."
        )
    return same, different
