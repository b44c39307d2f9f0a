"""Small images in a folder beside a page."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from reid_lightning.errors import InputError
from reid_lightning.files import writing
from reid_lightning.reporting.pictures import Picture, read_picture

HEIGHT = 128
"""Pixels that a small image has at most in height, which is what Market-1501's have."""
QUALITY = 66
"""Of the JPEG files: half the bytes of 85, and no difference at this size."""


def write_thumbnails(
    paths: Sequence[str], files: Sequence[Path], progress: Callable[[int], None] = lambda done: None
) -> int:
    """Write small JPEG files of images; of one that cannot be read any more there is a gray tile.

    Args:
        paths: Images.
        files: Where each goes; the folder exists.
        progress: Called with how many more are done.

    Returns:
        How many could not be read.

    Raises:
        InputError: A file cannot be written.
    """

    def work(both: tuple[str, Path]) -> bool:
        path, file = both
        try:
            picture, readable = thumbnail(path), True
        except InputError:
            picture, readable = np.full((HEIGHT, HEIGHT // 2, 3), 200, np.uint8), False
        write_thumbnail(picture, file)
        progress(1)
        return readable

    with ThreadPoolExecutor(2) as pool:  # OpenCV lets go of the interpreter
        return len(paths) - sum(pool.map(work, zip(paths, files, strict=True)))


def thumbnail(path: str | Path) -> Picture:
    """Return an image at most `HEIGHT` pixels high and twice as wide, its shape kept.

    Raises:
        InputError: It cannot be read.
    """
    picture = read_picture(path, longest=2 * HEIGHT)
    scale = min(1.0, HEIGHT / picture.shape[0])
    if scale == 1.0:
        return picture
    size = (max(1, round(scale * picture.shape[1])), HEIGHT)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def read_thumbnail(path: str | Path) -> Picture:
    """Return `thumbnail`, and a gray tile of an image that cannot be read any more."""
    try:
        return thumbnail(path)
    except InputError:
        return np.full((HEIGHT, HEIGHT // 2, 3), 200, np.uint8)


def write_thumbnail(picture: Picture, file: Path) -> None:
    """Write a JPEG file.

    Raises:
        InputError: It cannot be written.
    """
    settings = (cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1)
    data = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), settings)[1]
    with writing(file):
        file.write_bytes(data.tobytes())
