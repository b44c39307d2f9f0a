"""Sequences on disk as MOTChallenge lays them out: a folder with frames in `img1`, `seqinfo.ini` and boxes.

`seqinfo.ini` may be absent, and then frames lie in `img1` or in the folder itself, 30 of them a second.
"""

import configparser
import math
import re
from dataclasses import dataclass
from pathlib import Path

from reid_lightning.data.readers.image_files import ImageFiles
from reid_lightning.errors import InputError

FRAMES, INFO, TRUTH, DETECTIONS = "img1", "seqinfo.ini", "gt/gt.txt", "det/det.txt"
RATE = 30.0
# MOT17 holds the same frames and ground truth three times, once for each of these detectors.
_DETECTOR = re.compile(r"-(?:DPM|FRCNN|SDP)$")


@dataclass(frozen=True)
class SequenceFolder:
    """A sequence of frames.

    Attributes:
        folder: The folder.
        name: Its name, without the detector that MOT17 adds.
        frames: Image file of each frame, by number from 1, in order.
        rate: Frames a second.
    """

    folder: Path
    name: str
    frames: dict[int, Path]
    rate: float


def is_sequence(folder: Path) -> bool:
    """Tell whether a folder is a sequence: it has `img1` or `seqinfo.ini`."""
    return (folder / FRAMES).is_dir() or (folder / INFO).is_file()


def find_sequences(root: Path) -> list[Path]:
    """Return the sequences directly in a folder, sorted; of MOT17's three copies of one, the first."""
    found: dict[str, Path] = {}
    for name in ImageFiles(root).folders(root):
        if is_sequence(root / name):
            found.setdefault(_DETECTOR.sub("", name), root / name)
    return [found[name] for name in sorted(found)]


def open_sequence(folder: str | Path) -> SequenceFolder:
    """Find the frames of a sequence.

    Frames are numbered by their names where all names are numbers (`000001.jpg`), and otherwise by the order of their names.

    Raises:
        InputError: There are no frames, two have the same number, or `seqinfo.ini` cannot be read.
    """
    folder = Path(folder)
    where, rate = _read_info(folder)
    names = ImageFiles(where).images(where) if where.is_dir() else []
    if not names:
        raise InputError(f"{where} holds no frames: put the images of the sequence there, as in 000001.jpg.")
    numbers = [int(Path(name).stem) if Path(name).stem.isdecimal() else -1 for name in names]
    if min(numbers) < 0:
        numbers = list(range(1, len(names) + 1))
    frames: dict[int, Path] = {}
    for number, name in sorted(zip(numbers, names, strict=True)):
        if number in frames:
            raise InputError(f"{where} holds {frames[number].name} and {name}: both are frame {number}.")
        frames[number] = where / name
    return SequenceFolder(folder, _DETECTOR.sub("", folder.absolute().name), frames, rate)


def _read_info(folder: Path) -> tuple[Path, float]:
    """Return the folder of the frames and the frames a second."""
    path = folder / INFO
    default = folder / FRAMES if (folder / FRAMES).is_dir() else folder
    if not path.is_file():
        return default, RATE
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
        values = parser["Sequence"]
        rate = float(values.get("frameRate", str(RATE)))
    except (OSError, ValueError, KeyError, configparser.Error) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"{path} cannot be read ({reason}): it needs [Sequence] with frameRate and imDir, or remove it."
        ) from None
    if not (math.isfinite(rate) and rate > 0):
        raise InputError(f"{path}: frameRate is {rate:g}; write the frames a second.")
    inside = Path(values.get("imDir", FRAMES))
    if inside.is_absolute() or ".." in inside.parts:
        raise InputError(
            f"{path}: imDir is {inside}; write a folder inside of the sequence, such as {FRAMES}."
        )
    return folder / inside, rate
