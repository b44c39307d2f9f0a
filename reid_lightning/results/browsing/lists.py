"""The ranked list of every query, as the page shows it."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from reid_lightning.retrieval.evaluation import EvaluationRows, nearest_rows, true_match_rows
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.retrieval.ranking import Ranking

LISTED = 20
"""Nearest images of a list; further true matches follow with their ranks."""
MOST_QUERIES = 4000
"""With more, the page shows the worst quarter of so many, and the others evenly from worst to best."""

MOST_IMAGES = 20_000
"""Small images of a page, about 40 MB; with more, fewer queries are shown."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Lists:
    """Ranked lists of N queries; images are rows of the table."""

    position: Integers
    """(N,) the queries' places among all of the evaluation."""
    query: Integers
    """(N,) their images."""
    nearest: Integers
    """(N, k) images of the gallery, nearest first, -1 where there are no more."""
    distances: NDArray[np.float32]
    """(N, k) before a re-ranking."""
    rest: tuple[tuple[tuple[int, int, float], ...], ...]
    """Of each query the true matches beyond its list: rank, image, distance."""

    def select(self, places: Integers) -> "Lists":
        """Return the lists of some of the queries."""
        rest = tuple(self.rest[place] for place in places)
        return Lists(
            self.position[places], self.query[places], self.nearest[places], self.distances[places], rest
        )

    @property
    def images(self) -> Integers:
        """Every image that is shown, rising."""
        others = [image for line in self.rest for _, image, _ in line]
        shown = np.concatenate([self.query, self.nearest[self.nearest >= 0], np.array(others, np.int64)])
        return np.unique(shown)


def ranked_lists_of(
    rows: EvaluationRows,
    ranking: Ranking | None,
    protocol: EvaluationProtocol,
    most: int = MOST_QUERIES,
    most_images: int = MOST_IMAGES,
) -> Lists:
    """Return the lists of a page.

    Args:
        rows: What was ranked.
        ranking: Its scores; None where nobody is known.
        protocol: How it was compared.
        most: Queries at most.
        most_images: Images at most, as far as fewer queries have fewer.
    """
    precision = None if ranking is None else ranking.average_precision.numpy()
    position = choose(precision, int(rows.is_query.sum()), most)
    found = nearest_rows(rows, LISTED, protocol, torch.from_numpy(position))
    images = rows.gallery.index.cpu().numpy()
    columns = found.indices.cpu().numpy()
    nearest = np.where(columns >= 0, images[columns], -1)
    rest: list[list[tuple[int, int, float]]] = [[] for _ in position]
    if ranking is not None:
        listed = [set(line[line >= 0].tolist()) for line in columns]
        place = np.full(int(rows.is_query.sum()), -1)
        place[position] = np.arange(len(position))
        for query, column, rank, distance in zip(*true_match_rows(rows, protocol), strict=True):
            line = int(place[query])
            if line >= 0 and int(column) not in listed[line]:
                rest[line].append((int(rank), int(images[column]), float(distance)))
    lists = Lists(
        position,
        rows.query.index.cpu().numpy()[position],
        nearest,
        found.distances.float().cpu().numpy(),
        tuple(map(tuple, rest)),
    )
    while len(lists.images) > most_images and len(lists.query) > 1:
        shown = None if precision is None else precision[lists.position]
        lists = lists.select(choose(shown, len(lists.query), max(1, int(0.8 * len(lists.query)))))
    return lists


def choose(precision: NDArray[np.floating] | None, count: int, most: int) -> Integers:
    """Choose the queries of a page: all, or the worst quarter of `most`, and of the others evenly from worst to best.

    Args:
        precision: (count,) average precision, NaN without a true match; None if there is none.
        count: Queries.
        most: Queries to choose at most.

    Returns:
        Rising positions.

    Examples:
        >>> choose(np.array([0.9, 0.1, 0.5, 0.7, 0.8]), 5, 3).tolist(), choose(None, 3, 3).tolist()
        ([0, 1, 2], [0, 1, 2])
    """
    if count <= most:
        return np.arange(count)
    order = np.arange(count) if precision is None else np.argsort(precision, kind="stable")
    worst = max(1, most // 4)
    evenly = np.linspace(worst, count - 1, most - worst).round().astype(int)
    return np.sort(order[np.unique(np.concatenate([np.arange(worst), evenly]))])


def error_kinds(
    nearest: Integers,
    person: NDArray[np.object_],
    query: Integers,
    nobody: NDArray[np.bool_],
    ranking: Ranking,
) -> list[str]:
    """Return what is wrong with each query, as letters.

    Args:
        nearest: (N,) first image of each list, -1 for none.
        person: (T,) whom each image of the table shows.
        query: (N,) the queries' images.
        nobody: (T,) distractors.
        ranking: Of these N queries.

    Returns:
        Of each query "r" (the nearest image is right), "w" (it shows a wrong person) or "d" (a distractor), with "f" where
        none of the first ten is right; "n" where the gallery holds no true match.
    """
    kinds = []
    for place, image in enumerate(nearest):
        if ranking.num_matches[place] == 0:
            kinds.append("n")
            continue
        far = "f" if ranking.first_match_rank[place] > 10 else ""
        if image < 0:
            kinds.append(far)
        elif nobody[image]:
            kinds.append(f"d{far}")
        else:
            kinds.append(f"r{far}" if person[image] == person[query[place]] else f"w{far}")
    return kinds
