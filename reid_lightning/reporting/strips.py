"""Small JPEG files beside a page: single images, and strips of images side by side."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from reid_lightning.errors import InputError
from reid_lightning.files import writing
from reid_lightning.reporting.pictures import Picture, read_picture

_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 72)
_TILE = 200  # gray, where an image cannot be read


def write_strip(
    paths: Sequence[str], file: Path, height: int = 96, cell: int | None = None
) -> tuple[int, int]:
    """Write images side by side, each in a cell of its own.

    Args:
        paths: Image files, at least one.
        file: The JPEG file.
        height: Of the strip, pixels.
        cell: Width of each cell, in which an image is centered; None: that of a cell that fits the first image, between
            a third of the height and its double.

    Returns:
        Width of a cell and height, pixels.

    Raises:
        InputError: The file cannot be written.
    """
    pictures = [_read(path, 2 * height) for path in paths]
    if cell is None:
        tall, wide = pictures[0].shape[:2]
        cell = int(np.clip(round(height * wide / tall), height // 3, 2 * height))
    strip = np.hstack([_fitted(picture, cell, height) for picture in pictures])
    data = cv2.imencode(".jpg", np.ascontiguousarray(strip[..., ::-1]), _QUALITY)[1]
    with writing(file):
        file.write_bytes(data.tobytes())
    return cell, height


def _read(path: str, longest: int) -> Picture:
    try:
        return read_picture(path, longest)
    except InputError:
        return np.full((64, 32, 3), _TILE, np.uint8)


def _fitted(picture: Picture, width: int, height: int) -> Picture:
    """Return a picture in the middle of a white cell, its shape kept, enlarged where it is small."""
    tall, wide = picture.shape[:2]
    scale = min(width / wide, height / tall)
    size = min(width, max(1, round(scale * wide))), min(height, max(1, round(scale * tall)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    cell: Picture = np.full((height, width, 3), 255, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    cell[top : top + size[1], left : left + size[0]] = small
    return cell
