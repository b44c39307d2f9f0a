"""The page and the sheets of a round of labeling: pairs of images that a person compares."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reid_lightning.reporting.cells import write_cell
from reid_lightning.reporting.figures import FAINT, INK
from reid_lightning.reporting.render import write_page
from reid_lightning.reporting.sheet import GAP, IMAGE_HEIGHT, Sheet
from reid_lightning.reporting.thumbnails import read_thumbnail, write_thumbnails

ROWS = 8  # questions of a sheet
_CELL, _MARGIN, _LINE = 0.72, 0.25, 0.42  # inches
_ANSWER = 1.2  # inches, for a mark with a pen


@dataclass(frozen=True)
class Pair:
    """A question as it is shown.

    Attributes:
        number: Of the pair.
        question: Why it is asked.
        distance: Mean distance of the groups.
        first: Files of the image that is asked about, and of others of its group.
        second: Likewise.
    """

    number: int
    question: str
    distance: float
    first: Sequence[str]
    second: Sequence[str]


def write_label_page(
    folder: Path, page: str, images: str, pairs: Sequence[Pair], facts: dict[str, str]
) -> int:
    """Write the page, and small copies of its images, into a folder that is there.

    Args:
        folder: The round's folder.
        page: Name of the page in it.
        images: Name of the folder of the images in it.
        pairs: The questions.
        facts: What the page says of the round, by name.

    Returns:
        How many images could not be read any more.

    Raises:
        InputError: A file cannot be written.
    """
    paths = list(dict.fromkeys(path for pair in pairs for path in (*pair.first, *pair.second)))
    names = {path: f"{images}/{number:05d}.jpg" for number, path in enumerate(paths, 1)}
    (folder / images).mkdir()
    missing = write_thumbnails(paths, [folder / name for name in names.values()])
    shown = [
        {
            "number": pair.number,
            "question": pair.question,
            "distance": pair.distance,
            "sides": [
                {"file": side[0], "image": names[side[0]], "beside": [names[path] for path in side[1:]]}
                for side in (pair.first, pair.second)
            ],
        }
        for pair in pairs
    ]
    head = "pair,path_a,path_b,distance,question,answer"
    mark = f"{facts['model']} {facts['first pair']} {len(pairs)}"
    write_page(
        "label.html.j2",
        folder / page,
        title="Are these one person?",
        pairs=shown,
        facts=facts,
        head=head,
        rows=[_row(pair) for pair in pairs],
        mark=mark,
    )
    return missing


def write_sheets(folder: Path, pairs: Sequence[Pair]) -> list[Path]:
    """Write the questions as JPEG files, eight a sheet, with the number of the pair and room for a mark.

    Args:
        folder: It is made.
        pairs: The questions.

    Returns:
        The files.

    Raises:
        InputError: A file cannot be written.
    """
    folder.mkdir()
    files = []
    for start in range(0, len(pairs), ROWS):
        file = folder / f"sheet_{start // ROWS + 1:03d}.jpg"
        _draw(pairs[start : start + ROWS], file)
        files.append(file)
    return files


def _draw(pairs: Sequence[Pair], file: Path) -> None:
    places = max(len(side) for pair in pairs for side in (pair.first, pair.second))
    half = places * (_CELL + GAP)
    row = IMAGE_HEIGHT + _LINE
    sheet = Sheet(2 * _MARGIN + _ANSWER + 2 * half + 3 * GAP, _MARGIN + len(pairs) * row, _CELL)
    for place, pair in enumerate(pairs):
        top = _MARGIN + place * row
        sheet.write(_MARGIN, top, f"pair {pair.number}", INK, 9)
        sheet.write(_MARGIN, top + 0.2, pair.question, FAINT, 6)
        sheet.write(_MARGIN, top + 0.35, f"distance {pair.distance:.3f}", FAINT, 6)
        for number, choice in enumerate(("same", "different", "unknown")):
            sheet.write(_MARGIN, top + 0.55 + 0.16 * number, f"☐ {choice}", INK, 7)
        for side, files in enumerate((pair.first, pair.second)):
            left = _MARGIN + _ANSWER + side * (half + 3 * GAP)
            for number, path in enumerate(files):
                name = "ab"[side] if number == 0 else "its group"
                border = INK if number == 0 else "#ffffff"
                sheet.show(left + number * (_CELL + GAP), top, read_thumbnail(path), border, name, "")
    sheet.save(file)


def _row(pair: Pair) -> str:
    """Return a row of the CSV but for its last cell, the answer."""
    text = io.StringIO()
    cells = (pair.number, pair.first[0], pair.second[0], pair.distance, pair.question, "")
    csv.writer(text, lineterminator="").writerow([write_cell(cell) for cell in cells])
    return text.getvalue()
