"""A picture of ranked lists: the query in black, right images in green, wrong ones in red."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reid_lightning.errors import InputError
from reid_lightning.reporting.figures import FAINT, INK, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    axes = figure.add_axes(
        (0, 0, 1, 1)
    )  # one for all images, in inches: axes of their own take most of the time
    axes.set(xlim=(0, size[0]), ylim=(0, size[1]), autoscale_on=False)
    axes.axis("off")
    for number, row in enumerate(rows):
        bottom = size[1] - (number + 1) * line + CAPTION
        _text(axes, 0.12, bottom + IMAGE_HEIGHT - 0.02, row.label, INK, 8)
        score = "" if row.average_precision is None else f"AP {100 * row.average_precision:.1f}"
        _text(axes, 0.12, bottom + IMAGE_HEIGHT - (0.18 if row.label else 0.02), score, FAINT, 7.5)
        _draw(axes, (LABELS, bottom, width), row.query, QUERY, row.caption, "query")
        for position, image in enumerate(row.images):
            left = LABELS + (position + 1) * column + 2 * GAP
            border, mark = {True: (RIGHT, ""), False: (WRONG, " ✗"), None: (FAINT, "")}[image.correct]
            distance = f"{image.distance:.3f}" if image.distance < 10 else f"{image.distance:.1f}"
            _draw(axes, (left, bottom, width), image.path, border, image.caption, distance + mark)
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


def _text(axes: "Axes", x: float, y: float, text: str, color: str, points: float) -> None:
    axes.text(x, y, text, color=color, fontsize=points, va="top", ha="left", parse_math=False)


def _draw(
    axes: "Axes", cell: tuple[float, float, float], path: Path, border: str, first: str, second: str
) -> None:
    """Draw an image with its border and two small lines below; `cell` is left, bottom, width in inches."""
    from matplotlib.patches import Rectangle

    left, bottom, width = cell
    image = read_image(path)
    # The cell's shape is kept, so a differently shaped image is padded and not stretched.
    scale = min(width / image.shape[1], IMAGE_HEIGHT / image.shape[0])
    x, y = (
        start + (length - scale * pixels) / 2
        for start, length, pixels in ((left, width, image.shape[1]), (bottom, IMAGE_HEIGHT, image.shape[0]))
    )
    extent = (x, x + scale * image.shape[1], y, y + scale * image.shape[0])
    axes.add_patch(Rectangle((left, bottom), width, IMAGE_HEIGHT, facecolor="#f2f2f2", zorder=0))
    axes.imshow(image, extent=extent, interpolation="lanczos", aspect="auto", zorder=1)
    axes.add_patch(
        Rectangle((left, bottom), width, IMAGE_HEIGHT, fill=False, edgecolor=border, linewidth=2.2, zorder=2)
    )
    longest = int((width + GAP) / CHARACTER)
    if len(first) > longest:
        first = first[: longest - 1] + "…"
    _text(axes, left, bottom - 0.05, first, INK, 6)
    _text(axes, left, bottom - 0.16, second, border if border == WRONG else FAINT, 6)
