"""Where frames and detections come from: a video file, or a folder of frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from reid_lightning.data.decoding import decode_pixels
from reid_lightning.data.mot_text import MotBoxes, read_boxes
from reid_lightning.data.sequences import DETECTIONS, RATE, find_sequences, is_sequence, open_sequence
from reid_lightning.errors import InputError


@dataclass(frozen=True)
class Source:
    """Frames of one camera, and the boxes of people in them.

    Attributes:
        name: Name of the file or folder, which outputs are named after.
        path: The video, or the folder.
        files: Image of each frame by number from 1; empty for a video.
        rate: Frames a second.
        count: Frames, as far as the video says.
        detections: Boxes in all frames.
    """

    name: str
    path: Path
    files: dict[int, Path]
    rate: float
    count: int
    detections: MotBoxes

    def frames(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield number, from 1, and pixels, (H, W, 3) uint8 BGR, of each frame.

        Raises:
            InputError: A frame cannot be decoded, or the size changes.
        """
        size: tuple[int, ...] | None = None
        for number, frame in self._pictures() if self.files else self._video():
            size = size or frame.shape
            if frame.shape != size:
                raise InputError(
                    f"{self.path}: frame {number} has {frame.shape[1]} x {frame.shape[0]} pixels, and the first one "
                    f"{size[1]} x {size[0]}."
                )
            yield number, frame

    def _pictures(self) -> Iterator[tuple[int, np.ndarray]]:
        for number, file in self.files.items():
            yield number, cv2.cvtColor(decode_pixels(str(file)), cv2.COLOR_RGB2BGR)

    def _video(self) -> Iterator[tuple[int, np.ndarray]]:
        capture = _open(self.path)
        try:
            number = 0
            while True:
                read, frame = capture.read()
                if not read:
                    break
                number += 1
                yield number, frame
        finally:
            capture.release()
        if number == 0:
            raise InputError(f"{self.path} holds no frame that OpenCV can decode: convert it to MP4 (H.264).")


def open_sources(paths: list[Path], detections: list[Path]) -> list[Source]:
    """Open videos and folders of frames; a folder of sequences stands for all of them.

    Args:
        paths: Videos, sequences (`img1` in them), folders of images, or folders of sequences.
        detections: A file of boxes for each; empty: `det/det.txt` in each sequence.

    Raises:
        InputError: One is missing or cannot be read, its detections are missing, or two have the same name.
    """
    found: list[Path] = []
    for path in paths:
        inside = find_sequences(path) if path.is_dir() and not is_sequence(path) else []
        found += inside or [path]
    if detections and len(detections) != len(found):
        raise InputError(
            f"--detections is given {len(detections)} times for {len(found)} videos: give it once for each, in their order."
        )
    sources = [_open_source(path, detections[k] if detections else None) for k, path in enumerate(found)]
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"Two videos are named {name}, and outputs are named after them: rename one.")
    return sources


def _open_source(path: Path, detections: Path | None) -> Source:
    if not path.exists():
        raise InputError(f"There is no video or folder {path}.")
    inside = path / DETECTIONS
    if detections is None and not inside.is_file():
        raise InputError(
            f"{path} has no {DETECTIONS}: give the boxes of people in it with --detections FILE (frame, -1, left, top, "
            "width, height, confidence)."
        )
    boxes = read_boxes(detections or inside)
    if path.is_dir():
        sequence = open_sequence(path)
        name, files, rate, count = sequence.name, sequence.frames, sequence.rate, len(sequence.frames)
    else:
        capture = _open(path)
        name, files, count = path.stem, {}, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        capture.release()
    return Source(name, path, files, rate if 0 < rate < 1000 else RATE, max(count, 0), boxes)


def _open(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise InputError(
            f"{path} cannot be opened as a video: convert it to MP4 (H.264), or give a folder of frames."
        )
    return capture
