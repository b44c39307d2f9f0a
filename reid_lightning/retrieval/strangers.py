"""How near a stranger comes to the nearest of many enrolled people: thresholds for identification.

The more people are enrolled, the nearer the nearest of them is to a stranger, so that a threshold for two images
is far too wide for a thousand people. Here it is measured on known people: each query is a stranger to all others.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.distances import Distance
from reid_lightning.errors import InputError
from reid_lightning.retrieval.enrolled import PerPerson, person_means
from reid_lightning.retrieval.matches import Side
from reid_lightning.retrieval.similarities import Similarities

Floats = NDArray[np.float64]
RATES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
IMAGES = (1, 2, 4, 8)  # enrolled of a person
MOST = 2**53  # larger whole numbers are not distinct in float64


def nearest_people(
    query: Side,
    gallery: Side,
    images: int,
    distance: Distance = "cosine",
    seed: int = 0,
    per_person: PerPerson = "all",
) -> Floats:
    """Return how near each query is to every person of the gallery but its own.

    Args:
        query: The queries.
        gallery: The gallery.
        images: How many of a person are enrolled, drawn at random; all of those with fewer.
        distance: "cosine", "euclidean" or "sqeuclidean".
        seed: The same gives the same draw.
        per_person: "all" for the distance to the nearest image, "mean" for that to the images' mean.

    Returns:
        (Q, P) distances, infinite for the query's own person.

    Raises:
        InputError: A side is empty or not finite.
    """
    draw = np.random.default_rng(seed)
    people = gallery.person_ids.cpu().numpy()
    order = draw.permutation(len(people))
    order = order[np.argsort(people[order], kind="stable")]
    names, starts = np.unique(people[order], return_index=True)
    within = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    order = order[within < images]
    columns = np.searchsorted(names, people[order])
    vectors = gallery.vectors[torch.from_numpy(order)]
    if per_person == "mean":
        shown = torch.from_numpy(columns).to(vectors.device)
        vectors, columns = person_means(vectors, shown, distance), np.arange(len(names))
    starts = np.searchsorted(columns, np.arange(len(names)))
    pairs = Similarities.of(query.vectors, vectors, distance)
    own = query.person_ids.cpu().numpy()[:, None] == names[None, :]
    parts = [
        np.minimum.reduceat(pairs.distances(rows, chunk).cpu().double().numpy(), starts, axis=1)
        for rows, chunk in pairs.chunks()
    ]
    return np.where(own, np.inf, np.concatenate(parts))


def stranger_thresholds(
    nearest: Floats,
    people: int,
    rates: tuple[float, ...] = RATES,
    strangers: NDArray[np.int64] | None = None,
) -> Floats:
    """Return the distances within which given shares of strangers come to the nearest of some people.

    For each query it is the mean over all ways to choose that many people of those that it is a stranger to: its
    j-th nearest is the nearest of n chosen from P in C(P - j, n - 1) of C(P, n) choices.

    A threshold just below the (j + 1)-th of n distances lets j of these n strangers through, but of others (j + 1) / (n + 1)
    in the mean, whatever the distribution (order statistics). Therefore one stranger more than was seen is taken to come
    through: at a rate r, the share r - 1 / (n + 1) does. Images of one stranger look alike and count as one stranger; each
    counts as often as people can be chosen again.

    Args:
        nearest: (Q, P) as of `nearest_people`.
        people: How many are enrolled, at most as many as each query is a stranger to.
        rates: Shares of strangers, each from 0 to 1.
        strangers: (Q,) whom each query shows; None: each shows another person.

    Returns:
        (R,) thresholds, NaN where a rate is below 1 / (n + 1): nobody was seen who would come through.

    Examples:
        >>> nearest = np.array([[0.2, 0.4], [0.6, 0.8], [0.7, 0.8]])
        >>> stranger_thresholds(nearest, 2, (0.95, 0.6, 0.3, 0.2)).round(6).tolist()  # the nearest: 0.2, 0.6 and 0.7
        [0.7, 0.6, 0.2, nan]
    """
    ordered = np.sort(nearest, axis=1)
    others = np.isfinite(ordered).sum(axis=1)  # (Q,) people that a query is a stranger to
    place = np.arange(1, ordered.shape[1] + 1)[None, :]
    left = others[:, None] - place  # people farther away
    possible = (left >= people - 1) & np.isfinite(ordered)
    with np.errstate(invalid="ignore"):
        chance = np.exp(
            _log_choices(np.where(possible, left, people), people - 1) - _log_choices(others[:, None], people)
        )
    _, who, images = np.unique(
        np.arange(len(nearest)) if strangers is None else strangers, return_inverse=True, return_counts=True
    )
    share = 1 / (images[who] * len(images))  # (Q,) of a query: strangers weigh the same
    weights = (np.where(possible, chance, 0.0) * share[:, None]).ravel()
    rank = np.argsort(ordered, axis=None, kind="stable")
    far, reached = ordered.ravel()[rank], np.cumsum(weights[rank])
    one_more = 1 / (len(images) * float(np.maximum(1, others / people) @ share) + 1)
    found = []
    for rate in rates:
        first = int(np.searchsorted(reached, rate - one_more + 1e-9, side="right"))  # would be too many
        if rate < one_more - 1e-9:
            found.append(np.nan)
        else:
            found.append(np.inf if first >= len(far) else np.nextafter(far[first], -np.inf))
    return np.array(found)


@dataclass(frozen=True, eq=False)
class StrangerTable:
    """Thresholds for some numbers of enrolled people and of images of each.

    Attributes:
        images: (M,) enrolled of a person, rising.
        people: (N,) enrolled people, rising.
        rates: (R,) shares of strangers taken for somebody, falling.
        thresholds: (M, N, R) distances, NaN where too few strangers were seen.
    """

    images: tuple[int, ...]
    people: tuple[int, ...]
    rates: tuple[float, ...]
    thresholds: Floats

    @classmethod
    def measure(
        cls, query: Side, gallery: Side, distance: Distance = "cosine", per_person: PerPerson = "all"
    ) -> Self:
        """Measure it on known people, each a stranger to all others.

        Args:
            query: The strangers.
            gallery: Whom they may be taken for.
            distance: "cosine", "euclidean" or "sqeuclidean".
            per_person: Whether strangers are compared with "all" images of a person, or with their "mean".

        Raises:
            InputError: A side is empty or not finite, or there are fewer than two people.
        """
        known = len(torch.unique(gallery.person_ids))
        most = int(torch.bincount(_codes(gallery.person_ids)).max()) if known else 0
        if known < 2:
            raise InputError(
                f"Strangers need other people to be compared with, and the gallery shows {known}."
            )
        people = tuple(sorted({*(2**power for power in range(20) if 2**power < known - 1), known - 1}))
        images = tuple(count for count in IMAGES if count <= max(1, most))
        strangers = query.person_ids.cpu().numpy()
        tables = []
        for count in images:
            nearest = nearest_people(query, gallery, count, distance, per_person=per_person)
            tables.append([stranger_thresholds(nearest, number, RATES, strangers) for number in people])
        return cls(images, people, RATES, np.array(tables))

    def threshold(self, rate: float, people: int, images: float = 1.0) -> tuple[float, bool]:
        """Return the largest distance at which somebody is known.

        Between the numbers of people of the table it is interpolated over their logarithm. For more people than were
        measured, no more than rate x measured / people of the strangers may pass among the measured: the shares of
        strangers that parts of the people let through add up to at least the whole share.

        Args:
            rate: Share of strangers who may be taken for somebody, above 0 and up to 1.
            people: Enrolled.
            images: Enrolled of a person, on average.

        Returns:
            The threshold, and whether so small a rate was measured; otherwise it is that of the smallest that was.

        Raises:
            InputError: The rate or the number of people is out of range.
        """
        if not 0 < rate <= 1 or people < 1:
            raise InputError(
                f"A false accept rate must be between 0 and 1, got {rate}, among one person or more."
            )
        if rate == 1:
            return np.inf, True
        table = self.thresholds[min(int(np.searchsorted(self.images, images)), len(self.images) - 1)]
        if people > self.people[-1]:
            rate, people = rate * self.people[-1] / people, self.people[-1]
        above = int(np.searchsorted(self.people, people))
        rows = sorted({above, above if self.people[above] == people else above - 1})
        found, measured = zip(*(self._of_row(table[row], rate) for row in rows), strict=True)
        among = np.log([self.people[row] for row in rows])
        return float(np.interp(np.log(people), among, found)), all(measured)

    def _of_row(self, row: Floats, rate: float) -> tuple[float, bool]:
        known = np.isfinite(row)
        if not known.any():
            return 0.0, False
        rates = np.array(self.rates)[known][::-1]
        found = np.interp(np.log(rate), np.log(rates), row[known][::-1])
        return float(found), bool(rate >= rates[0] * (1 - 1e-9))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values; a threshold that is not known is None."""
        return {
            "images": list(self.images),
            "people": list(self.people),
            "rates": list(self.rates),
            "thresholds": [
                [[value if np.isfinite(value) else None for value in row] for row in table]
                for table in self.thresholds.tolist()
            ],
        }

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Return the table of plain values, which anybody may have written.

        Raises:
            InputError: They are not those of a table.
        """
        try:
            images, people = (tuple(int(value) for value in content[name]) for name in ("images", "people"))
            rates = tuple(float(value) for value in content["rates"])
            thresholds = np.array(content["thresholds"], dtype=np.float64)  # None becomes NaN
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise InputError(
                "the table of strangers of a calibration holds other things than numbers"
            ) from error
        counts = all(row and row[0] > 0 and row[-1] < MOST and _rises(row) for row in (images, people))
        shares = bool(rates) and rates[0] <= 1 and rates[-1] > 0 and _rises(rates[::-1])
        if not (counts and shares and thresholds.shape == (len(images), len(people), len(rates))):
            raise InputError("the table of strangers of a calibration has another shape than it says")
        if not _fall(thresholds):
            raise InputError(
                "the thresholds of the strangers of a calibration must be distances that fall with their rates"
            )
        return cls(images, people, rates, thresholds)


def _rises(row: tuple[float, ...]) -> bool:
    return all(before < after for before, after in pairwise(row))


def _fall(thresholds: Floats) -> bool:
    """Tell whether no row rises where it is known."""
    rows = thresholds.reshape(-1, thresholds.shape[-1])
    return all((np.diff(row[np.isfinite(row)]) <= 0).all() for row in rows)


def _codes(people: Tensor) -> Tensor:
    return torch.unique(people, return_inverse=True)[1].cpu()  # type: ignore[no-any-return]


def _log_choices(of: NDArray[np.int64], chosen: int) -> Floats:
    """Return the logarithm of the binomial coefficient."""
    from scipy.special import gammaln

    found: Floats = np.asarray(gammaln(of + 1.0) - gammaln(of - chosen + 1.0)) - gammaln(chosen + 1.0)
    return found
