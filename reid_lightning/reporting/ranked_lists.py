"""A picture of ranked lists: the query in black, right images in green, wrong ones in red."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid_lightning.errors import InputError
from reid_lightning.reporting.figures import FAINT, INK
from reid_lightning.reporting.pictures import read_pictures
from reid_lightning.reporting.sheet import GAP, IMAGE_HEIGHT, WRONG, Sheet

QUERY, RIGHT = "#111111", "#2e9e4f"
CAPTION, LABELS = 0.3, 0.85  # inches: below images, and left of the query
LETTERS = 18  # in a line of words that were asked
CELL = 384  # pixels that an image is read with at most, more than the widest cell has


@dataclass(frozen=True)
class RankedImage:
    """One answer: an image of the gallery at its rank."""

    path: Path
    correct: bool | None
    """None where it is not known: the border is gray."""
    distance: float
    caption: str
    """Person and camera, short: "0003 c2"."""


@dataclass(frozen=True)
class RankedList:
    """A query and the nearest images of the gallery, those that the protocol removes left out."""

    query: Path | None
    """None where words were asked."""
    caption: str
    average_precision: float | None
    """None if there is none to tell."""
    images: tuple[RankedImage, ...]
    label: str = ""
    """Why it is shown: "worst", "typical"."""


def choose_queries(average_precision: Sequence[float] | np.ndarray, count: int) -> list[tuple[int, str]]:
    """Choose the worst queries and as many typical ones, whose average precision is nearest to the median.

    Args:
        average_precision: Per query; NaN (no true match) is never chosen.
        count: Queries altogether; half of them, rounded up, are the worst.

    Returns:
        Positions with "worst" or "typical", the worst first; equal values in the order of the queries.

    Examples:
        >>> choose_queries([0.9, 0.1, float("nan"), 0.6, 0.7, 0.2], 3)
        [(1, 'worst'), (5, 'worst'), (3, 'typical')]
    """
    values = np.asarray(average_precision, dtype=float)
    order = np.argsort(values, kind="stable")  # NaN sorts last
    order = order[: np.isfinite(values).sum()]
    worst, rest = order[: (count + 1) // 2], order[(count + 1) // 2 :]
    if not len(rest):
        return [(int(i), "worst") for i in worst]
    distance = np.abs(values[rest] - np.median(values[order]))
    typical = np.sort(rest[np.argsort(distance, kind="stable")[: count - len(worst)]])
    return [(int(i), "worst") for i in worst] + [(int(i), "typical") for i in typical]


def ranked_lists(rows: Sequence[RankedList], path: str | Path) -> None:
    """Draw one line per query: the query, then its ranked images with person, camera and distance.

    Args:
        rows: Lists of any length; images keep their own shape inside a cell of the first query's shape. One that cannot
            be read any more is a gray tile.
        path: Picture file.

    Raises:
        InputError: There is no row, or the file's ending is not that of a picture of pixels.
    """
    if not rows:
        raise InputError("There is no ranked list to draw; choose at least one query.")
    columns = max(len(row.images) for row in rows)
    pictures = read_pictures((path for row in rows for path in _paths(row)), CELL)
    if not pictures:
        raise InputError("There is no image to draw: nothing was found.")
    first = pictures[str(_paths(rows[0])[0])] if _paths(rows[0]) else next(iter(pictures.values()))
    width = IMAGE_HEIGHT * float(np.clip(first.shape[1] / first.shape[0], 0.3, 2.0))
    column, line = max(width, 0.5) + GAP, IMAGE_HEIGHT + CAPTION + 0.12
    sheet = Sheet(LABELS + (columns + 1) * column + 2 * GAP + 0.1, len(rows) * line + 0.12, width)
    for number, row in enumerate(rows):
        top = 0.12 + number * line
        if row.query is None:
            for place, words in enumerate(textwrap.wrap(row.caption, LETTERS)):
                sheet.write(0.12, top + 0.15 * place, words, INK, 8)
        sheet.write(0.12, top, row.label, INK, 8)
        score = "" if row.average_precision is None else f"AP {100 * row.average_precision:.1f}"
        sheet.write(0.12, top + (0.16 if row.label else 0), score, FAINT, 7.5)
        if row.query is not None:
            sheet.show(LABELS, top, pictures[str(row.query)], QUERY, row.caption, "query")
        for position, image in enumerate(row.images):
            left = LABELS + (position + 1) * column + 2 * GAP
            border, mark = {True: (RIGHT, ""), False: (WRONG, " ✗"), None: (FAINT, "")}[image.correct]
            distance = f"{image.distance:.3f}" if image.distance < 10 else f"{image.distance:.1f}"
            sheet.show(left, top, pictures[str(image.path)], border, image.caption, distance + mark)
    sheet.save(path)


def _paths(row: RankedList) -> list[Path]:
    return [path for path in (row.query, *(image.path for image in row.images)) if path is not None]
