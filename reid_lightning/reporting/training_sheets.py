"""Pictures of a training batch: images before and after their augmentation, and its triplets by how hard they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid_lightning.reporting.figures import COLORS, FAINT, INK
from reid_lightning.reporting.pictures import Picture
from reid_lightning.reporting.sheet import CHARACTER, GAP, IMAGE_HEIGHT, Sheet

READ, DRAWN = "#111111", "#d5d5d5"
"""Borders of an image as it was read, and of what the augmentation makes of it."""
KIND_COLORS = (COLORS[1], COLORS[4], COLORS[0])
"""Of hard, semi-hard and easy triplets."""
MARGIN = 0.15  # inches, around the sheet
HEADING = 0.26  # inches, of a line of text above images
BLOCK = 0.28  # inches, between two blocks of images
LINE = 0.22  # inches, of a bar with its text
LABEL, BAR = 1.5, 1.9  # inches, of the text before a bar, and of the bar


@dataclass(frozen=True, eq=False)
class Augmented:
    """An image as it was read, and some draws of its augmentation, all of one size."""

    caption: str
    read: Picture
    draws: Sequence[Picture]


@dataclass(frozen=True, eq=False)
class ShownTriplet:
    """Three images of the batch with the two distances that the loss compares."""

    images: tuple[Picture, Picture, Picture]
    """Anchor, positive, negative."""
    captions: tuple[str, str, str]
    near: float
    far: float


@dataclass(frozen=True, eq=False)
class TripletKind:
    """Triplets of one kind."""

    title: str
    """What makes them of this kind."""
    examples: Sequence[ShownTriplet]


@dataclass(frozen=True)
class Shares:
    """How many triplets of each kind there are among some."""

    label: str
    counts: Sequence[int]


def augmented_images(images: Sequence[Augmented], path: str | Path, columns: int = 2) -> None:
    """Draw a row per image: as it was read, then the draws of its augmentation.

    Args:
        images: At least one, each with equally many draws.
        path: PNG file.
        columns: Images side by side, each with its draws.
    """
    draws = len(images[0].draws)
    cell = _cell(images[0].read)
    pitch, line = max(cell, 0.5) + GAP, IMAGE_HEIGHT + HEADING
    block = (1 + draws) * pitch + (GAP if draws else 0)
    rows = -(-len(images) // columns)
    width = 2 * MARGIN + columns * block + (columns - 1) * BLOCK
    sheet = Sheet(width, MARGIN + HEADING + rows * line, cell)
    for column in range(min(columns, len(images))):
        left = MARGIN + column * (block + BLOCK)
        sheet.write(left, MARGIN, "as read", INK, 8)
        if draws:
            sheet.write(left + pitch + GAP, MARGIN, "augmented", INK, 8)
    for place, shown in enumerate(images):
        left = MARGIN + (place // rows) * (block + BLOCK)
        top = MARGIN + HEADING + (place % rows) * line
        sheet.show(left, top, shown.read, READ, shown.caption, "")
        for number, draw in enumerate(shown.draws, start=1):
            sheet.show(left + number * pitch + GAP, top, draw, DRAWN, "", "")
    sheet.save(path)


def triplet_kinds(kinds: Sequence[TripletKind], shares: Sequence[Shares], path: str | Path) -> None:
    """Draw a column per kind of triplets, and above them how many of each kind there are.

    Args:
        kinds: In the order of the counts.
        shares: Counted triplets, a bar each.
        path: PNG file.
    """
    some = next(triplet for kind in kinds for triplet in kind.examples)
    cell = _cell(some.images[0])
    pitch, line = max(cell, 0.5) + GAP, IMAGE_HEIGHT + 0.36
    block = 3 * pitch
    rows = max(len(kind.examples) for kind in kinds)
    width = max(2 * MARGIN + len(kinds) * block + (len(kinds) - 1) * BLOCK, 6.4)
    above = MARGIN + len(shares) * LINE + 0.16
    sheet = Sheet(width, above + HEADING + rows * line, cell)
    for place, counted in enumerate(shares):
        _bar(sheet, MARGIN + place * LINE, counted, kinds)
    for column, (kind, color) in enumerate(zip(kinds, KIND_COLORS, strict=True)):
        left = MARGIN + column * (block + BLOCK)
        sheet.write(left, above, kind.title, color, 7.5)
        if not kind.examples:
            sheet.write(left, above + HEADING, "none in this batch", FAINT, 8)
        for row, triplet in enumerate(kind.examples):
            top = above + HEADING + row * line
            words = ("anchor", f"same {_number(triplet.near)}", f"other {_number(triplet.far)}")
            parts = zip(triplet.images, triplet.captions, words, (READ, DRAWN, color), strict=True)
            for number, (image, who, first, border) in enumerate(parts):
                sheet.show(left + number * pitch, top, image, border, first, _short(who, pitch))
    sheet.save(path)


def _bar(sheet: Sheet, top: float, counted: Shares, kinds: Sequence[TripletKind]) -> None:
    """Draw a bar of shares between its name and its numbers."""
    total = max(1, sum(counted.counts))
    sheet.write(MARGIN, top, _short(counted.label, LABEL), INK, 8)
    left, texts = MARGIN + LABEL, []
    for kind, color, count in zip(kinds, KIND_COLORS, counted.counts, strict=True):
        if count:
            sheet.bar(left, top + 0.01, BAR * count / total, 0.13, color)
        left += BAR * count / total
        texts.append(f"{kind.title.partition(':')[0]} {100 * count / total:.1f} %")
    sheet.write(MARGIN + LABEL + BAR + 0.12, top, ", ".join(texts), FAINT, 7.5)


def _cell(image: Picture) -> float:
    """Return the width of an image's cell in inches."""
    return IMAGE_HEIGHT * float(np.clip(image.shape[1] / image.shape[0], 0.3, 2.0))


def _short(text: str, width: float) -> str:
    longest = int(width / CHARACTER)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _number(distance: float) -> str:
    return f"{distance:.3f}" if distance < 10 else f"{distance:.1f}"
