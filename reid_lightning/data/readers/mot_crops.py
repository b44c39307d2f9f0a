"""Crops of the people of a sequence, cut once and kept in the cache folder."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from reid_lightning.data.boxes import cut
from reid_lightning.data.decoding import decode_pixels, read_regular
from reid_lightning.data.mot_text import MotBoxes, read_boxes
from reid_lightning.data.sequences import SequenceFolder
from reid_lightning.errors import InputError, require
from reid_lightning.files import atomic_path, cache_dir, file_lock

_VERSION = 1  # another one cuts everything again
_LIST = "crops.csv"
_PEDESTRIAN = (1, -1)  # class of MOTChallenge, and no class
_QUALITY = 95  # of the JPEG


@dataclass(frozen=True)
class Cut:
    """Which boxes become crops.

    Attributes:
        tracks: File of a sequence that says who is where.
        min_visibility: Least share of a box that is in sight and inside of the frame, 0 to 1.
        min_height: Least height of the crop in pixels.
        every: Frames from one that is read to the next.
    """

    tracks: str
    min_visibility: float
    min_height: int
    every: int

    def __post_init__(self) -> None:
        require(0 <= self.min_visibility <= 1, "min_visibility", "from 0 to 1", self.min_visibility)
        require(self.min_height >= 1, "min_height", ">= 1", self.min_height)
        require(self.every >= 1, "every", ">= 1", self.every)


def cut_crops(sequence: SequenceFolder, settings: Cut) -> pd.DataFrame:
    """Return the crops of a sequence, which are cut first unless the cache has them.

    The cache knows them by the tracks, the sizes and times of the frames, and `settings`. A sequence is written
    atomically, so that a killed run continues with the next one.

    Returns:
        A row per crop by frame and id: `path`, `person` (id in the sequence), `frame_id`, `visibility`.

    Raises:
        InputError: The tracks or a frame cannot be read, or a line names a frame that is not there.
    """
    numbers = list(sequence.frames)[:: settings.every]
    folder = cache_dir() / "mot" / f"{sequence.name}-{_digest(sequence, numbers, settings)}"
    with file_lock(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            boxes = _chosen(
                sequence, read_boxes(sequence.folder / settings.tracks, tracks=True), numbers, settings
            )
            with atomic_path(folder) as temporary:
                temporary.mkdir(parents=True)
                _write(sequence, boxes, settings, temporary)
    crops = pd.read_csv(folder / _LIST, dtype={"name": "str", "person": "str"})
    return crops.assign(path=[f"{folder}/{name}" for name in crops.pop("name")])


def _digest(sequence: SequenceFolder, numbers: list[int], settings: Cut) -> str:
    """Return a name for all that the crops depend on, but for where the data lie."""
    digest = hashlib.sha256(repr((_VERSION, sorted(asdict(settings).items()))).encode())
    digest.update(read_regular(str(sequence.folder / settings.tracks), may_be_empty=True))
    for number in numbers:
        status = sequence.frames[number].stat()
        digest.update(repr((number, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()[:16]


def _chosen(sequence: SequenceFolder, boxes: MotBoxes, numbers: list[int], settings: Cut) -> MotBoxes:
    """Return the boxes of pedestrians that count, in sight and in a frame that is read, by frame and id."""
    frames = np.asarray(list(sequence.frames))
    strange = np.flatnonzero(~np.isin(boxes.frames, frames))
    if len(strange):
        row = int(strange[0])
        raise InputError(
            f"{sequence.folder / settings.tracks}, line {boxes.lines[row]} is about frame {boxes.frames[row]}, and "
            f"{next(iter(sequence.frames.values())).parent} holds {len(frames)} frames, {frames[0]} to {frames[-1]}: copy "
            "the sequence again, or remove the line."
        )
    counts = np.isin(boxes.classes, _PEDESTRIAN) & (boxes.confidence > 0)
    chosen = counts & (boxes.visibility >= settings.min_visibility) & np.isin(boxes.frames, numbers)
    rows = np.flatnonzero(chosen)
    return boxes.select(rows[np.lexsort((boxes.ids[rows], boxes.frames[rows]))])


def _write(sequence: SequenceFolder, boxes: MotBoxes, settings: Cut, folder: Path) -> None:
    """Write the crops of some boxes and their list into a folder."""
    rows = []
    for number in np.unique(boxes.frames).tolist():
        frame = cv2.cvtColor(decode_pixels(str(sequence.frames[number])), cv2.COLOR_RGB2BGR)
        for row in np.flatnonzero(boxes.frames == number).tolist():
            crop, inside = crop_of(frame, boxes.boxes[row])
            seen = min(float(boxes.visibility[row]), inside)
            if seen < settings.min_visibility or crop.shape[0] < settings.min_height or not crop.size:
                continue
            name = f"{boxes.ids[row]:06d}_{number:06d}.jpg"
            _, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
            (folder / name).write_bytes(data.tobytes())
            rows.append((name, str(boxes.ids[row]), number, round(seen, 4)))
    table = pd.DataFrame(rows, columns=["name", "person", "frame_id", "visibility"])
    table.to_csv(folder / _LIST, index=False)


def crop_of(frame: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, float]:
    """Cut a box out of a frame.

    Args:
        frame: (H, W, 3).
        box: Corners x1, y1, x2, y2 in pixels, (4,); they are rounded to whole pixels and clipped to the frame.

    Returns:
        The crop (h, w, 3), empty where the box lies outside, and the share of the box that is inside of the frame.

    Examples:
        >>> crop, inside = crop_of(np.zeros((40, 30, 3), np.uint8), np.array([-10.0, 20, 10, 60]))
        >>> crop.shape, inside
        ((20, 10, 3), 0.25)
    """
    crops, _ = cut(frame, box[None])
    if not crops:
        return frame[:0, :0], 0.0
    wide, high = np.rint(box[2:]) - np.rint(box[:2])
    return crops[0], crops[0].shape[0] * crops[0].shape[1] / float(wide * high)
