"""A picture of ranked lists: the query in black, right images in green, wrong ones in red."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reid_lightning.errors import InputError
from reid_lightning.reporting.figures import FAINT, INK, new_figure, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUERY, RIGHT, WRONG = "#111111", "#2e9e4f", "#d8342b"
IMAGE_HEIGHT = 1.05  # inches
GAP, CAPTION, LABELS = 0.1, 0.3, 0.85  # inches: between images, below them, and left of the query
CHARACTER = 0.055  # inches: mean width in a caption


@dataclass(frozen=True)
class RankedImage:
    """One answer: an image of the gallery at its rank."""

    path: Path
    correct: bool | None
    """None where it is not known: the border is grey."""
    distance: float
    caption: str
    """Person and camera, short: "0003 c2"."""


@dataclass(frozen=True)
class RankedList:
    """A query and the nearest images of the gallery, those that the protocol removes left out."""

    query: Path
    caption: str
    average_precision: float | None
    """None where there is none to tell."""
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
        rows: Lists of any length; images keep their own shape inside a cell of the first query's shape.
        path: Picture file.

    Raises:
        InputError: There is no row, or an image cannot be read.
    """
    if not rows:
        raise InputError("There is no ranked list to draw; choose at least one query.")
    columns = max(len(row.images) for row in rows)
    width = IMAGE_HEIGHT * _aspect(rows[0].query)
    column, line = max(width, 0.5) + GAP, IMAGE_HEIGHT + CAPTION + 0.12
    size = LABELS + (columns + 1) * column + 2 * GAP + 0.1, len(rows) * line + 0.12
    figure = new_figure(*size)
    for number, row in enumerate(rows):
        bottom = size[1] - (number + 1) * line + CAPTION
        _text(figure, size, 0.12, bottom + IMAGE_HEIGHT - 0.02, row.label, INK, 8)
        score = "" if row.average_precision is None else f"AP {100 * row.average_precision:.1f}"
        _text(figure, size, 0.12, bottom + IMAGE_HEIGHT - (0.18 if row.label else 0.02), score, FAINT, 7.5)
        _draw(figure, size, (LABELS, bottom, width), row.query, QUERY, row.caption, "query")
        for position, image in enumerate(row.images):
            left = LABELS + (position + 1) * column + 2 * GAP
            border, mark = {True: (RIGHT, ""), False: (WRONG, " ✗"), None: (FAINT, "")}[image.correct]
            distance = f"{image.distance:.3f}" if image.distance < 10 else f"{image.distance:.1f}"
            _draw(figure, size, (left, bottom, width), image.path, border, image.caption, distance + mark)
    save(figure, path)


def read_image(path: Path) -> np.ndarray:
    """Return an image as uint8 (H, W, 3), at most 512 pixels wide and high.

    Raises:
        InputError: It cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.thumbnail((512, 512))
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise InputError(f"The image {path} cannot be read: {error}.") from error


def _aspect(path: Path) -> float:
    height, width = read_image(path).shape[:2]
    return float(np.clip(width / height, 0.3, 2.0))


def _text(
    figure: "Figure", size: tuple[float, float], x: float, y: float, text: str, color: str, points: float
) -> None:
    figure.text(
        x / size[0], y / size[1], text, color=color, fontsize=points, va="top", ha="left", parse_math=False
    )


def _draw(
    figure: "Figure",
    size: tuple[float, float],
    cell: tuple[float, float, float],
    path: Path,
    border: str,
    first: str,
    second: str,
) -> None:
    """Draw an image with its border and two small lines below; `cell` is left, bottom, width in inches."""
    left, bottom, width = cell
    axes = figure.add_axes((left / size[0], bottom / size[1], width / size[0], IMAGE_HEIGHT / size[1]))
    axes.set_facecolor("#f2f2f2")
    image = read_image(path)
    # The cell's shape is kept, so a differently shaped image is padded and not stretched.
    height, natural = image.shape[:2]
    cell_width = max(natural, height * width / IMAGE_HEIGHT)
    cell_height = cell_width * IMAGE_HEIGHT / width
    axes.imshow(image, extent=(-natural / 2, natural / 2, -height / 2, height / 2), interpolation="lanczos")
    axes.set_xlim(-cell_width / 2, cell_width / 2)
    axes.set_ylim(-cell_height / 2, cell_height / 2)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(border)
        spine.set_linewidth(2.2)
    longest = int((width + GAP) / CHARACTER)
    if len(first) > longest:
        first = first[: longest - 1] + "…"
    _text(figure, size, left, bottom - 0.05, first, INK, 6)
    _text(figure, size, left, bottom - 0.16, second, border if border == WRONG else FAINT, 6)
