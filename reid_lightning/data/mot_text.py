"""Boxes of a sequence in the text form of MOTChallenge: who is where in each frame.

A line is a box: `frame, id, left, top, width, height, confidence, class, visibility`, separated by commas. Frames count
from 1, places are in pixels of the frame. Only the first six columns are needed. Detections have the id -1, and results
of trackers -1 in the columns from the eighth on.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from reid_lightning.data.decoding import read_regular
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path

COLUMNS = ("frame", "id", "left", "top", "width", "height", "confidence", "class", "visibility")
_NEEDED = 6
_LARGEST = 2**31  # of a number in a file: what lies beyond is no frame, id or pixel


class MotBoxes(NamedTuple):
    """N boxes in the order of their file.

    Attributes:
        frames: Frame of each box, (N,) int64, from 1.
        ids: Whose box it is, (N,) int64; -1: unknown.
        boxes: Corners x1, y1, x2, y2 in pixels, (N, 4) float64; pixel 0 reaches from 0 to 1.
        confidence: (N,) float64; 1 where the file has no such column.
        classes: (N,) int64; -1 where the file has no such column.
        visibility: Share of the box that is in sight, (N,) float64; 1 where it is not known.
        lines: Line of each box in its file, (N,) int64, from 1.
    """

    frames: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    confidence: np.ndarray
    classes: np.ndarray
    visibility: np.ndarray
    lines: np.ndarray

    def select(self, rows: np.ndarray) -> "MotBoxes":
        """Return some boxes: a boolean array or positions."""
        return MotBoxes(*(column[rows] for column in self))


def read_boxes(path: str | Path, tracks: bool = False) -> MotBoxes:
    """Read a file of boxes.

    Coordinates of MOTChallenge count from 1: the left upper pixel of a frame is at 1, 1. They become corners from 0. A file
    without a line is a sequence in which nobody was seen.

    Args:
        path: Text file, such as `gt/gt.txt` or `det/det.txt`.
        tracks: Whether every box must have an id, and every id at most one box in a frame.

    Raises:
        InputError: The file cannot be read, or a line is not a box; it is named.
    """
    path = Path(path)
    try:
        text = read_regular(str(path), may_be_empty=True).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8: write the boxes as {', '.join(COLUMNS)}.") from None
    lines = text.splitlines()
    numbered = [number for number, line in enumerate(lines, start=1) if line.strip()]
    rows = [_numbers(path, number, lines[number - 1]) for number in numbered]
    values = np.asarray(rows, np.float64).reshape(-1, len(COLUMNS))
    left, top, width, height = values[:, 2:6].T
    found = MotBoxes(
        values[:, 0].astype(np.int64),
        values[:, 1].astype(np.int64),
        np.stack([left - 1, top - 1, left - 1 + width, top - 1 + height], axis=1),
        values[:, 6],
        values[:, 7].astype(np.int64),
        np.where(values[:, 8] < 0, 1.0, values[:, 8]),
        np.asarray(numbered, np.int64),
    )
    if tracks:
        _check_tracks(path, found)
    return found


def write_boxes(
    path: str | Path,
    frames: Sequence[int] | np.ndarray,
    ids: Sequence[int] | np.ndarray,
    boxes: np.ndarray,
    confidence: np.ndarray,
    visibility: np.ndarray | None = None,
) -> None:
    """Write boxes as MOTChallenge does: as ground truth of pedestrians (class 1) where visibility is given, or as results.

    Args:
        path: File to write atomically.
        frames: Frame of each box, (N,), from 1.
        ids: Whose box it is, (N,); -1: unknown, as in a file of detections.
        boxes: Corners x1, y1, x2, y2 in pixels from 0, (N, 4).
        confidence: (N,).
        visibility: Share of each box in sight, (N,); None: the columns from the eighth on are -1.
    """
    lines = []
    for row, (x1, y1, x2, y2) in enumerate(np.asarray(boxes, np.float64).reshape(-1, 4).tolist()):
        place = f"{x1 + 1:.2f},{y1 + 1:.2f},{_side(x2 - x1)},{_side(y2 - y1)}"
        rest = "-1,-1,-1" if visibility is None else f"1,{visibility[row]:.3f}"
        lines.append(f"{frames[row]},{ids[row]},{place},{confidence[row]:.4g},{rest}\n")
    with atomic_path(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def _side(length: float) -> str:
    """Return a width or height with two digits; one that is not zero does not become zero, which no reader takes."""
    return f"{max(length, 0.01) if length > 0 else length:.2f}"


def _numbers(path: Path, number: int, line: str) -> tuple[float, ...]:
    """Return the nine numbers of a line.

    Raises:
        InputError: It holds something else; the line is named.
    """
    cells = line.split(",")
    where = f"{path}, line {number}"
    if len(cells) < _NEEDED:
        raise InputError(
            f"{where} has {len(cells)} cells, and a box needs {', '.join(COLUMNS[:_NEEDED])}, separated by commas: "
            f"{line.strip()[:60]}."
        )
    values = [1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0, -1.0, -1.0]
    for column, cell in enumerate(cells[: len(COLUMNS)]):
        try:
            values[column] = float(cell)
        except ValueError:
            raise InputError(
                f"{where}: {COLUMNS[column]} is {cell.strip()[:40]}, and not a number."
            ) from None
        if not abs(values[column]) < _LARGEST:  # NaN, too
            raise InputError(f"{where}: {COLUMNS[column]} is {cell.strip()[:40]}; write a finite number.")
    for column in (0, 1, 7):
        if values[column] != math.floor(values[column]):
            raise InputError(
                f"{where}: {COLUMNS[column]} is {cells[column].strip()[:40]}; write a whole number."
            )
    if values[0] < 1:
        raise InputError(f"{where}: frame is {cells[0].strip()}, and frames count from 1.")
    if values[4] <= 0 or values[5] <= 0:
        raise InputError(
            f"{where}: the box is {cells[4].strip()} wide and {cells[5].strip()} high; both must be above 0, so correct "
            "or remove the line."
        )
    return tuple(values)


def _check_tracks(path: Path, found: MotBoxes) -> None:
    """Refuse boxes without an id, and two boxes of an id in one frame."""
    unknown = np.flatnonzero(found.ids < 0)
    if len(unknown):
        raise InputError(
            f"{path}, line {found.lines[unknown[0]]}: id is {found.ids[unknown[0]]}, and tracks need one from 0 on; is "
            "this a file of detections?"
        )
    twice = pd.DataFrame({"frame": found.frames, "id": found.ids}).duplicated().to_numpy()
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        same = (found.frames == found.frames[row]) & (found.ids == found.ids[row])
        first = found.lines[int(np.flatnonzero(same)[0])]
        raise InputError(
            f"{path}, lines {first} and {found.lines[row]}: id {found.ids[row]} has two boxes in frame "
            f"{found.frames[row]}; remove one of them."
        )
