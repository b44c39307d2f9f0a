"""A picture of ranked lists: the query in black, right images in green, wrong ones in red."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reid_lightning.errors import InputError, printable
from reid_lightning.files import atomic_path, require_output
from reid_lightning.reporting.figures import DPI, FAINT, INK
from reid_lightning.reporting.pictures import Picture, read_pictures

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

QUERY, RIGHT, WRONG = "#111111", "#2e9e4f", "#d8342b"
IMAGE_HEIGHT = 1.05  # inches
GAP, CAPTION, LABELS = 0.1, 0.3, 0.85  # inches: between images, below them, and left of the query
CHARACTER = 0.055  # inches: mean width in a caption
BORDER = 4  # pixels, around an image
CELL = 384  # pixels that an image is read with at most, more than the widest cell has


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
        rows: Lists of any length; images keep their own shape inside a cell of the first query's shape. One that cannot
            be read any more is a grey tile.
        path: Picture file.

    Raises:
        InputError: There is no row, or the file's ending is not that of a picture of pixels.
    """
    if not rows:
        raise InputError("There is no ranked list to draw; choose at least one query.")
    columns = max(len(row.images) for row in rows)
    pictures = read_pictures(
        (path for row in rows for path in (row.query, *(image.path for image in row.images))), CELL
    )
    first = pictures[str(rows[0].query)]
    width = IMAGE_HEIGHT * float(np.clip(first.shape[1] / first.shape[0], 0.3, 2.0))
    column, line = max(width, 0.5) + GAP, IMAGE_HEIGHT + CAPTION + 0.12
    sheet = _Sheet(LABELS + (columns + 1) * column + 2 * GAP + 0.1, len(rows) * line + 0.12, width)
    for number, row in enumerate(rows):
        top = 0.12 + number * line
        sheet.write(0.12, top, row.label, INK, 8)
        score = "" if row.average_precision is None else f"AP {100 * row.average_precision:.1f}"
        sheet.write(0.12, top + (0.16 if row.label else 0), score, FAINT, 7.5)
        sheet.show(LABELS, top, pictures[str(row.query)], QUERY, row.caption, "query")
        for position, image in enumerate(row.images):
            left = LABELS + (position + 1) * column + 2 * GAP
            border, mark = {True: (RIGHT, ""), False: (WRONG, " ✗"), None: (FAINT, "")}[image.correct]
            distance = f"{image.distance:.3f}" if image.distance < 10 else f"{image.distance:.1f}"
            sheet.show(left, top, pictures[str(image.path)], border, image.caption, distance + mark)
    sheet.save(path)


def require_sheet(path: str | Path) -> None:
    """Refuse a file for ranked lists that cannot be written, before any work; its folder is made.

    Raises:
        InputError: The ending is not that of a picture of pixels, or the file cannot be written.
    """
    from PIL import Image

    endings = Image.registered_extensions()
    if endings.get(Path(path).suffix.lower()) not in Image.SAVE:
        raise InputError(f"{path} names no picture: give it an ending such as .png, .jpg or .pdf.")
    require_output(path)


class _Sheet:
    """A white sheet that is drawn on in inches from its left upper corner, pixel by pixel.

    matplotlib takes six times as long for a hundred images with captions.

    Args:
        width: Of the sheet, inches.
        height: Of the sheet, inches.
        cell: Width of an image's cell, inches.
    """

    def __init__(self, width: float, height: float, cell: float):
        from PIL import Image, ImageDraw

        self._image = Image.new("RGB", (_pixels(width), _pixels(height)), "white")
        self._pen = ImageDraw.Draw(self._image)
        self._cell = cell

    def write(self, left: float, top: float, text: str, color: str, points: float) -> None:
        self._pen.text((_pixels(left), _pixels(top)), printable(text), fill=color, font=_font(points))

    def show(self, left: float, top: float, picture: Picture, border: str, first: str, second: str) -> None:
        """Draw a picture inside its border and two small lines below it."""
        from PIL import Image

        x, y, width, height = map(_pixels, (left, top, self._cell, IMAGE_HEIGHT))
        image = Image.fromarray(picture)
        # The cell's shape is kept, so a differently shaped image is padded and not stretched.
        scale = min(width / image.width, height / image.height)
        shown = image.resize(
            (max(1, round(scale * image.width)), max(1, round(scale * image.height))),
            Image.Resampling.LANCZOS,
        )
        self._pen.rectangle((x, y, x + width - 1, y + height - 1), fill="#f2f2f2")
        self._image.paste(shown, (x + (width - shown.width) // 2, y + (height - shown.height) // 2))
        frame = x - BORDER, y - BORDER, x + width - 1 + BORDER, y + height - 1 + BORDER
        self._pen.rectangle(frame, outline=border, width=BORDER)
        longest = int((self._cell + GAP) / CHARACTER)
        if len(first) > longest:
            first = first[: longest - 1] + "…"
        below = top + IMAGE_HEIGHT
        self.write(left, below + 0.04, first, INK, 6)
        self.write(left, below + 0.15, second, border if border == WRONG else FAINT, 6)

    def save(self, path: str | Path) -> None:
        require_sheet(path)
        with atomic_path(path) as temporary:
            self._image.save(temporary, dpi=(DPI, DPI), compress_level=1)  # of a PNG: a quarter of the time


def _pixels(inches: float) -> int:
    return round(inches * DPI)


@cache
def _font(points: float) -> "FreeTypeFont":
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(
        Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", points * DPI / 72
    )
