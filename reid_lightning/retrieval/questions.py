"""Which pairs of images are worth a person's look: those whose answer changes most of what is grouped."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from scipy.special import expit

from reid_lightning.errors import require
from reid_lightning.retrieval.constrained import Matrix, group_distances
from reid_lightning.retrieval.links import Integers, Links

Kind = Literal["nearly joined", "just joined", "far from its group"]
NEAREST = 5  # groups that each group may be asked about
BESIDE = 3  # further images of a group that are shown beside the one that is asked about


@dataclass(frozen=True, eq=False)
class Question:
    """Whether two images show one person, asked for the sake of their groups.

    Attributes:
        first: Number of an image, the one in the middle of its side.
        second: Number of an image of the other side.
        kind: "nearly joined" (two groups that are a little too far apart), "just joined" (two parts of one group), or
            "far from its group" (an image and the rest of its group).
        distance: Mean distance of the two sides' images.
        gain: Pairs of images that are expected to be wrong if nobody answers.
        beside_first: Further images of the first side, from the middle to the edge.
        beside_second: Further images of the second side.
    """

    first: int
    second: int
    kind: Kind
    distance: float
    gain: float
    beside_first: tuple[int, ...] = ()
    beside_second: tuple[int, ...] = ()


def choose_questions(
    far: Matrix,
    groups: Integers,
    threshold: float,
    links: Links,
    count: int,
    *,
    slope: float | None = None,
    seed: int = 0,
) -> list[Question]:
    """Choose questions about pairs of groups that nearly join, and about groups that barely hold together.

    A question weighs what is expected to be wrong if nobody answers: the probability that the grouping is wrong about its
    two sides times the number of pairs of images between them. The probability is logistic in the mean distance of the
    sides and one half at the threshold. In a round no image is asked about twice, and groups that earlier questions of
    the round connect are not asked about again until nothing else is left.

    Args:
        far: (N, N) distances, symmetric, zero on the diagonal.
        groups: (N,) number of each image's group, from 0 on, see `constrained_groups`.
        threshold: The distance within which groups were joined.
        links: The answers so far: what follows from them, and what was asked, is not asked again.
        count: Questions at most.
        slope: Of the log odds against the distance, above 0; None: `steepness`.
        seed: Seed for the order of questions with equal weight.

    Returns:
        The weightiest first; fewer than `count` where there are no more.

    Raises:
        ValueError: The count is below 1.
    """
    require(count >= 1, "count", ">= 1", count)
    steep = steepness(threshold) if slope is None else slope
    sides = [*_between(far, groups, links), *_within(far, groups, links)]
    draw = np.random.default_rng(seed).random(len(sides))
    asked = {frozenset(pair) for pair in links.asked}
    found = []
    for (first, second, kind, distance), lot in zip(sides, draw, strict=True):
        wrong = float(expit(-steep * abs(distance - threshold)))
        gain = wrong * len(first) * len(second)
        found.append((-gain, lot, first, second, kind, distance))
    found.sort(key=lambda one: one[:2])
    return _diverse(far, found, groups, count, asked)


def steepness(threshold: float) -> float:
    """Return the slope of the log odds where no calibration knows it: they change by 10 over the threshold."""
    return 10 / max(threshold, 1e-6)


Sides = tuple[Integers, Integers, Kind, float]


def _between(far: Matrix, groups: Integers, links: Links) -> list[Sides]:
    """Return each group with those of its nearest groups that no answer keeps apart from it."""
    members = _members(groups)
    if len(members) < 2:
        return []
    between = group_distances(far, groups)
    np.fill_diagonal(between, np.inf)
    for one, other in links.groups_apart(groups):
        between[one, other] = between[other, one] = np.inf
    near = np.argsort(between, axis=1, kind="stable")[:, :NEAREST]
    pairs = {
        (min(one, other), max(one, other))
        for one, others in enumerate(near.tolist())
        for other in others
        if np.isfinite(between[one, other])
    }
    return [
        (members[one], members[other], "nearly joined", float(between[one, other]))
        for one, other in sorted(pairs)
    ]


def _within(far: Matrix, groups: Integers, links: Links) -> list[Sides]:
    """Return the two sides of every joining inside of groups that no answer confirms."""
    found: list[Sides] = []
    for members in _members(groups):
        if len(members) < 2:
            continue
        inside = squareform(far[np.ix_(members, members)].astype(np.float64), checks=False)
        tree = linkage(inside, method="average")
        sides = list(members[:, None])
        for left, right, distance, _ in tree.tolist():
            first, second = sorted((sides[int(left)], sides[int(right)]), key=len)
            sides.append(np.sort(np.concatenate([first, second])))
            if np.intersect1d(links.components[first], links.components[second]).size:
                continue
            kind: Kind = "far from its group" if len(first) == 1 < len(second) else "just joined"
            found.append((first, second, kind, float(distance)))
    return found


def _diverse(
    far: Matrix,
    ordered: list[tuple[float, float, Integers, Integers, Kind, float]],
    groups: Integers,
    count: int,
    asked: set[frozenset[int]],
) -> list[Question]:
    """Take the weightiest questions whose images are new; groups may be connected twice only in a second pass."""
    chosen: list[Question] = []
    used: set[int] = set()
    connected = list(range(int(groups.max()) + 1))

    def root(group: int) -> int:
        while connected[group] != group:
            connected[group] = connected[connected[group]]
            group = connected[group]
        return group

    inside: Counter[int] = Counter()
    for strict in (True, False):
        for minus_gain, _, first, second, kind, distance in ordered:
            if len(chosen) == count:
                break
            one, other = int(groups[first[0]]), int(groups[second[0]])
            if strict and (root(one) == root(other) if one != other else inside[one] > 0):
                continue
            pair = _middle(far, first), _middle(far, second)
            if used & set(pair) or frozenset(pair) in asked:
                continue
            used |= set(pair)
            connected[root(one)] = root(other)
            inside[one] += one == other
            beside = [_beside(far, middle, side) for middle, side in zip(pair, (first, second), strict=True)]
            chosen.append(Question(*pair, kind, distance, -minus_gain, *beside))
    return sorted(chosen, key=lambda one: -one.gain)


def _members(groups: Integers) -> list[Integers]:
    return [np.flatnonzero(groups == group) for group in range(int(groups.max()) + 1)]


def _middle(far: Matrix, members: Integers) -> int:
    """Return the image whose mean distance to the others is least."""
    return int(members[far[np.ix_(members, members)].sum(1).argmin()])


def _beside(far: Matrix, middle: int, members: Integers) -> tuple[int, ...]:
    """Return further images of a side, evenly from the nearest to the middle to the farthest."""
    others = members[members != middle]
    others = others[np.argsort(far[middle, others], kind="stable")]
    places: NDArray[np.int64] = np.unique(np.linspace(0, len(others) - 1, BESIDE).round().astype(np.int64))
    return tuple(others[places].tolist()) if len(others) else ()
