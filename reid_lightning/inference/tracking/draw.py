"""The video of tracked people: boxes and ids drawn over the frames."""

import colorsys
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path
from reid_lightning.inference.tracking.source import Source

_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}


def draw_frame(frame: np.ndarray, boxes: Mapping[int, np.ndarray]) -> np.ndarray:
    """Draw a box and an id for each person; the same id has the same color everywhere.

    Args:
        frame: (H, W, 3) uint8 BGR.
        boxes: Corners x1, y1, x2, y2 by id.

    Returns:
        A new frame.
    """
    drawn = np.ascontiguousarray(frame).copy()
    thick = max(1, round(frame.shape[0] / 360))
    scale = 0.45 * max(frame.shape[0], 360) / 360
    for person, box in sorted(boxes.items()):
        x1, y1, x2, y2 = np.round(np.clip(box, -10_000, 30_000)).astype(int).tolist()
        color = color_of(person)
        cv2.rectangle(drawn, (x1, y1), (x2, y2), color, thick, cv2.LINE_AA)
        (wide, high), _ = cv2.getTextSize(str(person), cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
        top = max(y1, high + 4)
        cv2.rectangle(drawn, (x1, top - high - 4), (x1 + wide + 4, top), color, -1)
        place = (x1 + 2, top - 3)
        cv2.putText(drawn, str(person), place, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), thick, cv2.LINE_AA)
    return drawn


def color_of(person: int) -> tuple[int, int, int]:
    """Return a bright BGR color; those of neighboring ids differ most."""
    red, green, blue = colorsys.hsv_to_rgb(person * 0.618034 % 1.0, 0.65, 1.0)
    return round(255 * blue), round(255 * green), round(255 * red)


def write_video(path: Path, source: Source, people: Mapping[int, Mapping[int, np.ndarray]]) -> None:
    """Write the frames of a source with the people in them.

    Args:
        path: `.mp4` (MPEG-4) or `.avi` (Motion JPEG) file, written atomically.
        source: Where the frames come from.
        people: By frame, corners by id.

    Raises:
        InputError: OpenCV cannot write such a video here.
    """
    with atomic_path(path) as temporary:
        writer, written = None, 0
        try:
            for number, frame in source.frames():
                if writer is None:
                    code = cv2.VideoWriter.fourcc(*_CODECS[path.suffix])
                    writer = cv2.VideoWriter(
                        str(temporary), code, source.rate, (frame.shape[1], frame.shape[0])
                    )
                    if not writer.isOpened():
                        raise InputError(f"OpenCV cannot write {path} here: use --no-video.")
                written += 1
                writer.write(draw_frame(frame, people.get(number, {})))
        finally:
            if writer is not None:
                writer.release()
        made = cv2.VideoCapture(str(temporary))
        if int(made.get(cv2.CAP_PROP_FRAME_COUNT)) != written:  # OpenCV says nothing of a full disk
            raise InputError(
                f"{path} cannot be written whole: free some space on its disk, or use --no-video."
            )
