"""A picture of cards: an image each, and beside it what a model says of it, with how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reid_lightning.errors import InputError
from reid_lightning.reporting.figures import FAINT, INK
from reid_lightning.reporting.pictures import read_pictures
from reid_lightning.reporting.sheet import GAP, Sheet

COLUMNS = 4
IMAGE_WIDTH, TEXT_WIDTH, SURE_WIDTH = 0.75, 1.65, 0.45  # inches
LINE, CAPTION, LEAST_LINES = (
    0.13,
    0.2,
    9,
)  # inches of a line and below the image, and lines that an image is high
BAR, EMPTY = "#4c78a8", "#e4e8ee"
CELL = 384  # pixels that an image is read with at most


@dataclass(frozen=True)
class CardLine:
    """One statement."""

    name: str
    answer: str
    confidence: float | None
    """From 0 to 1; None of a number."""


@dataclass(frozen=True)
class Card:
    """What is said of an image."""

    image: Path
    lines: tuple[CardLine, ...]


def cards(rows: Sequence[Card], path: str | Path) -> None:
    """Draw a card for each image.

    Args:
        rows: At least one; one whose image cannot be read any more has a gray tile.
        path: Picture file.

    Raises:
        InputError: There is no card, or the file's ending is not that of a picture of pixels.
    """
    if not rows:
        raise InputError("There is no image to draw; give one or more.")
    high = LINE * max(LEAST_LINES, *(len(row.lines) for row in rows))
    width = IMAGE_WIDTH + GAP + TEXT_WIDTH + SURE_WIDTH + 5 * GAP
    columns = min(COLUMNS, len(rows))
    lines = -(-len(rows) // columns)
    pictures = read_pictures((row.image for row in rows), CELL)
    sheet = Sheet(columns * width + GAP, lines * (high + CAPTION + 2 * GAP) + GAP, IMAGE_WIDTH, high)
    for number, row in enumerate(rows):
        left = 2 * GAP + (number % columns) * width
        top = 2 * GAP + (number // columns) * (high + CAPTION + 2 * GAP)
        sheet.show(left, top, pictures[str(row.image)], FAINT, row.image.name, "")
        text = left + IMAGE_WIDTH + 1.5 * GAP
        for place, line in enumerate(row.lines):
            y = top + place * LINE
            sheet.write(text, y, line.name, FAINT, 6)
            sheet.write(text + 0.95, y, line.answer, INK, 6)
            if line.confidence is not None:
                sheet.bar(text + TEXT_WIDTH, y + 0.03, SURE_WIDTH, 0.06, EMPTY)
                sheet.bar(text + TEXT_WIDTH, y + 0.03, SURE_WIDTH * line.confidence, 0.06, BAR)
                sheet.write(
                    text + TEXT_WIDTH + SURE_WIDTH + 0.05, y, f"{100 * line.confidence:.0f}", FAINT, 6
                )
    sheet.save(path)
