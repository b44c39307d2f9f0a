"""What people have said of pairs of images: the same person or two, and where their answers contradict each other."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from reid_lightning.errors import InputError

Answer = Literal["same", "different", "unknown"]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Link:
    """An answer about two images.

    Attributes:
        first: Number of an image.
        second: Number of another one.
        answer: "same" person, "different" people, or "unknown", which says nothing but that the pair was asked.
        name: What messages call the answer, such as "answers.csv, row 3".
    """

    first: int
    second: int
    answer: Answer
    name: str = ""


@dataclass(frozen=True, eq=False)
class Links:
    """Answers that agree with each other, and what follows from them.

    Attributes:
        components: (N,) number of the set of images that each belongs to: those that are the same person by the answers.
        apart: Pairs of such sets that are two people, the smaller number first.
        same: (S, 2) pairs of images that were said to be one person.
        asked: Pairs of images about which there is any answer, the smaller number first.
    """

    components: Integers
    apart: frozenset[tuple[int, int]]
    same: Integers
    asked: frozenset[tuple[int, int]]

    @classmethod
    def of(cls, links: Iterable[Link], images: int, names: Sequence[str] | None = None) -> Self:
        """Draw the consequences of answers.

        Args:
            links: The answers.
            images: How many images there are, N.
            names: What messages call the images; None: their numbers.

        Raises:
            InputError: Answers contradict each other; the message names those of the shortest chain.
            ValueError: An image is not there, or is compared with itself.

        Examples:
            >>> found = Links.of([Link(0, 2, "same"), Link(2, 1, "different")], images=3)
            >>> found.components.tolist(), sorted(found.apart)
            ([0, 1, 0], [(0, 1)])
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        links = list(links)
        for link in links:
            if not (0 <= link.first < images and 0 <= link.second < images) or link.first == link.second:
                raise ValueError(
                    f"a link must join two of {images} images, got {link.first} and {link.second}"
                )
        same = np.array([(one.first, one.second) for one in links if one.answer == "same"], np.int64)
        same = same.reshape(-1, 2)
        graph = coo_array((np.ones(len(same)), (same[:, 0], same[:, 1])), shape=(images, images))
        components = connected_components(graph, directed=False)[1].astype(np.int64)
        apart = set()
        for link in links:
            if link.answer == "different":
                sides = sorted((int(components[link.first]), int(components[link.second])))
                if sides[0] == sides[1]:
                    raise InputError(_contradiction(link, links, names))
                apart.add((sides[0], sides[1]))
        asked = frozenset((min(one.first, one.second), max(one.first, one.second)) for one in links)
        return cls(components, frozenset(apart), same, asked)

    def forbidden(self) -> tuple[Integers, Integers]:
        """Return all pairs of images that must not be in one group: (F,) and (F,) numbers of images."""
        members = _members(self.components)
        first: list[Integers] = []
        second: list[Integers] = []
        for a, b in sorted(self.apart):
            first.append(np.repeat(members[a], len(members[b])))
            second.append(np.tile(members[b], len(members[a])))
        none = np.empty(0, np.int64)
        return np.concatenate([none, *first]), np.concatenate([none, *second])

    def groups_apart(self, groups: Integers) -> set[tuple[int, int]]:
        """Return the pairs of groups of which some two images are two people; a group of both stands with itself."""
        found = set()
        members = _members(self.components)
        for a, b in self.apart:
            for one in np.unique(groups[members[a]]).tolist():
                for other in np.unique(groups[members[b]]).tolist():
                    found.add((min(one, other), max(one, other)))
        return found


def _members(components: Integers) -> dict[int, Integers]:
    order = np.argsort(components, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(components[order])) + 1)
    return {int(components[part[0]]): part for part in parts}


def _contradiction(wrong: Link, links: Sequence[Link], names: Sequence[str] | None) -> str:
    """Return a sentence with the shortest chain of answers by which two images that "differ" are one person."""
    ways: dict[int, list[tuple[int, Link]]] = defaultdict(list)
    for link in links:
        if link.answer == "same":
            ways[link.first].append((link.second, link))
            ways[link.second].append((link.first, link))
    came: dict[int, tuple[int, Link] | None] = {wrong.first: None}
    waiting = deque([wrong.first])
    while wrong.second not in came:
        here = waiting.popleft()
        for there, link in ways[here]:
            if there not in came:
                came[there] = (here, link)
                waiting.append(there)
    chain: list[str] = []
    step = came[wrong.second]
    while step is not None:
        chain.append(_said(step[1], "the same person", names))
        step = came[step[0]]
    said = " and ".join([*reversed(chain), _said(wrong, "two people", names)])
    return f"The answers contradict each other: {said}; correct one of them, or make it unknown."


def _said(link: Link, what: str, names: Sequence[str] | None) -> str:
    first, second = (str(one) if names is None else names[one] for one in (link.first, link.second))
    return f"{link.name or 'an answer'} calls {first} and {second} {what}"
