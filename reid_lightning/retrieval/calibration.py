"""What a distance of a model means, learned from people whom it was not trained on: probabilities and thresholds.

It is measured on the validation people of a training, and never on the test's. It travels in the checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.arguments import as_number, shown
from reid_lightning.distances import Distance
from reid_lightning.errors import InputError
from reid_lightning.retrieval.curves import Curve, IsotonicCurve, LogisticCurve, at_prior, log_loss
from reid_lightning.retrieval.enrolled import PerPerson
from reid_lightning.retrieval.matches import CameraPolicy, Side
from reid_lightning.retrieval.reliability import Reliability, reliability
from reid_lightning.retrieval.strangers import StrangerTable
from reid_lightning.retrieval.verification import PairDistances, accept_rates, pair_distances

Kind = Literal["logistic", "isotonic"]
RATES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
MOST_DIFFERENT = 300_000  # pairs of two people; it is measured after every epoch
FALSE_ACCEPTS = 0.01  # where nobody says how many
LEAST_SAME = 20  # pairs of one person from which on a probability is stated


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a distance means.

    Attributes:
        distance: "cosine", "euclidean" or "sqeuclidean".
        kind: The curve that probabilities are read from: the one that fitted people better that it was not fitted with.
        logistic: The logistic curve.
        isotonic: The isotonic curve.
        same_pairs: Pairs of one person that it rests on.
        different_pairs: Pairs of two people.
        people: Whom these pairs show.
        error: Expected calibration error on people that the curve was not fitted with, at a prior of one half; None
            where there were too few.
        rates: (R,) shares of the pairs of two people that are accepted, falling.
        thresholds: (R,) the largest distances that accept no larger share.
        true_accepts: (R,) shares of the pairs of one person that are accepted then.
        strangers: Thresholds among enrolled people; None where there were too few.
        strangers_to_means: Those for the mean of each person's vectors; None there, and of earlier versions.
    """

    distance: Distance
    kind: Kind
    logistic: LogisticCurve
    isotonic: IsotonicCurve
    same_pairs: int
    different_pairs: int
    people: int
    error: float | None
    rates: tuple[float, ...]
    thresholds: tuple[float, ...]
    true_accepts: tuple[float, ...]
    strangers: StrangerTable | None
    strangers_to_means: StrangerTable | None = None

    @property
    def curve(self) -> Curve:
        """The curve that probabilities are read from."""
        return self.isotonic if self.kind == "isotonic" else self.logistic

    @classmethod
    def fit(
        cls,
        query: Side,
        gallery: Side,
        *,
        distance: Distance = "cosine",
        camera_policy: CameraPolicy = "exclude_same_camera",
        seed: int = 0,
    ) -> Self | None:
        """Measure what a distance means.

        Curves are compared, and their error is measured, by halves of the people: a curve is fitted with the pairs among
        one half, and judged by those among the other.

        Args:
            query: The queries.
            gallery: The gallery; negative people are nobody in particular.
            distance: "cosine", "euclidean" or "sqeuclidean".
            camera_policy: As in `Matches.of`.
            seed: Draws the halves, and the pairs where there are very many.

        Returns:
            The calibration; None of fewer than `LEAST_SAME` pairs of one person, or no more of two than of one.

        Raises:
            InputError: A side is empty or not finite.
        """

        def pairs_among(people: Tensor | None) -> PairDistances | None:
            sides = [
                side if people is None else side.select(torch.isin(side.person_ids, people))
                for side in (query, gallery)
            ]
            if not all(len(side) for side in sides):
                return None
            found = pair_distances(
                *sides,
                distance=distance,
                camera_policy=camera_policy,
                most_different=MOST_DIFFERENT,
                seed=seed,
            )
            few = len(found.same) < LEAST_SAME or len(found.different) < len(found.same)
            return None if few else found

        pairs = pairs_among(None)
        if pairs is None:
            return None
        known = query.person_ids[query.person_ids >= 0].unique()
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed)).to(known.device)
        halves = [pairs_among(known[part]) for part in (order[::2], order[1::2])]
        kind, error = judged(*halves)
        accepted = accept_rates(pairs, RATES)
        return cls(
            distance,
            kind,
            LogisticCurve.fit(pairs),
            IsotonicCurve.fit(pairs),
            len(pairs.same),
            len(pairs.different),
            len(known),
            error,
            tuple(rate.false_accepts for rate in accepted),
            tuple(rate.threshold for rate in accepted),
            tuple(rate.true_accepts for rate in accepted),
            *(_strangers(query, gallery, distance, per_person) for per_person in get_args(PerPerson)),
        )

    def probability(self, distances: NDArray[np.floating], prior: float = 0.5) -> NDArray[np.float64]:
        """Return the probability that pairs at these distances show one person.

        Args:
            distances: Of any shape.
            prior: Share of all pairs that show one person.

        Raises:
            InputError: The prior is not between 0 and 1, or the distances are not numbers.
        """
        try:
            numbers = np.asarray(distances, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"Distances must be numbers, got {shown(distances)}.") from None
        return at_prior(self.curve.probability(numbers), prior)

    def threshold(self, false_accepts: float) -> float:
        """Return the largest distance at which two images are taken for one person.

        Between the rates that were measured it is interpolated over their logarithm.

        Args:
            false_accepts: Share of pairs of two people that may be accepted.

        Raises:
            InputError: The validation has too few pairs to show so small a rate, or the rate is not one.
        """
        false_accepts = as_number(false_accepts, "A false accept rate")
        lowest = min(self.rates, default=1.0)
        if not lowest * (1 - 1e-9) <= false_accepts <= max(self.rates, default=0.0):
            measured = f"from {lowest:g} to {max(self.rates):g}" if self.rates else "none"
            raise InputError(
                f"A false accept rate of {false_accepts:g} was not measured: {measured} of {self.different_pairs:,} pairs "
                "of two validation people; ask for one of these, or give a threshold."
            )
        return float(np.interp(np.log(false_accepts), np.log(self.rates[::-1]), self.thresholds[::-1]))

    def reliability(self, pairs: PairDistances, prior: float = 0.5, bins: int = 15) -> Reliability:
        """Compare stated probabilities with the truth of other pairs.

        Args:
            pairs: Of people that it was not fitted with.
            prior: Share that pairs of one person are to have.
            bins: Of equal width.

        Raises:
            InputError: There are no pairs of one person, or none of two.
        """
        return _reliability(self.curve, pairs, prior, bins)

    @property
    def _tables(self) -> dict[str, StrangerTable | None]:
        return {"strangers": self.strangers, "strangers_to_means": self.strangers_to_means}

    def summary(self) -> dict[str, Any]:
        """Return its main numbers as plain values; `thresholds` are distances by false accept rate."""
        return {
            "people": self.people,
            "same_pairs": self.same_pairs,
            "different_pairs": self.different_pairs,
            "curve": self.kind,
            "error": self.error,
            "thresholds": {
                f"{rate:g}": found for rate, found in zip(self.rates, self.thresholds, strict=True)
            },
            "true_accepts": {
                f"{rate:g}": found for rate, found in zip(self.rates, self.true_accepts, strict=True)
            },
        }

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as a checkpoint and JSON hold them."""
        return {
            "distance": self.distance,
            "kind": self.kind,
            "logistic": self.logistic.as_dict(),
            "isotonic": self.isotonic.as_dict(),
            "same_pairs": self.same_pairs,
            "different_pairs": self.different_pairs,
            "people": self.people,
            "error": self.error,
            "rates": list(self.rates),
            "thresholds": list(self.thresholds),
            "true_accepts": list(self.true_accepts),
            **{name: None if table is None else table.as_dict() for name, table in self._tables.items()},
        }

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Return the calibration of plain values, which anybody may have written.

        Raises:
            InputError: They are not those of a calibration.
        """
        if not isinstance(content, Mapping):
            raise InputError("a calibration must be a mapping")
        held: dict[str, Any] = {one.name: content.get(one.name) for one in fields(cls)}
        if held["distance"] not in get_args(Distance) or held["kind"] not in get_args(Kind):
            raise InputError(
                f"a calibration of distance {_short(held['distance'])} and kind {_short(held['kind'])} is not known"
            )
        for name in ("same_pairs", "different_pairs", "people"):
            if type(held[name]) is not int or not 0 <= held[name] < 2**53:
                raise InputError(
                    f"the {name} of a calibration must be a whole number, got {_short(held[name])}"
                )
        if held["error"] is not None and not _is_share(held["error"]):
            raise InputError(
                f"the error of a calibration must be between 0 and 1, got {_short(held['error'])}"
            )
        rates, thresholds, accepted = (held[name] for name in ("rates", "thresholds", "true_accepts"))
        if not (
            all(
                isinstance(row, list) and len(row) == len(rates or ())
                for row in (rates, thresholds, accepted)
            )
            and all(_is_share(value) for value in [*rates, *accepted])
            and all(type(value) in (int, float) and abs(value) < 1e12 for value in thresholds)
            and all(before > rate > 0 for before, rate in zip([1, *rates], rates, strict=False))
            and all(before >= after for before, after in pairwise(thresholds))
        ):
            raise InputError(
                "the rates of a calibration must be falling shares, and its thresholds distances that fall with them"
            )
        curves = {
            "logistic": LogisticCurve.from_dict(held["logistic"]),
            "isotonic": IsotonicCurve.from_dict(held["isotonic"]),
        }
        rows = {"rates": tuple(rates), "thresholds": tuple(thresholds), "true_accepts": tuple(accepted)}
        tables = {
            name: None if held[name] is None else StrangerTable.from_dict(held[name])
            for name in ("strangers", "strangers_to_means")
        }
        return cls(**held | curves | rows | tables)


def judged(first: PairDistances | None, second: PairDistances | None) -> tuple[Kind, float | None]:
    """Return the kind of curve that fits the other half of the people better, and its expected calibration error.

    The logistic curve is taken where a half has too few pairs: it has two numbers, and never states more than they say.
    """
    if first is None or second is None:
        return "logistic", None
    found: list[tuple[float, float, Kind]] = []
    for kind in get_args(Kind):
        fit = LogisticCurve.fit if kind == "logistic" else IsotonicCurve.fit
        sides = [(fit(first), second), (fit(second), first)]
        cost = sum(log_loss(curve, pairs) for curve, pairs in sides)
        found.append((cost, sum(_reliability(curve, pairs).error for curve, pairs in sides) / 2, kind))
    _, error, kind = min(found)
    return kind, error


def _reliability(curve: Curve, pairs: PairDistances, prior: float = 0.5, bins: int = 15) -> Reliability:
    stated = at_prior(curve.probability(np.concatenate(pairs)), prior)
    same = np.arange(len(stated)) < len(pairs.same)
    return reliability(stated, same, prior, bins)


def _strangers(query: Side, gallery: Side, distance: Distance, per_person: PerPerson) -> StrangerTable | None:
    gallery = gallery.select(gallery.person_ids >= 0)
    if len(gallery.person_ids.unique()) < 2:
        return None
    return StrangerTable.measure(query, gallery, distance, per_person)


def _short(value: Any) -> str:
    """Return a foreign value as a message shows it."""
    try:
        return str(value)[:40]
    except ValueError:  # a whole number of more digits than Python writes
        return "a huge number"


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1
