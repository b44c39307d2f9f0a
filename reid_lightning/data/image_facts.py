"""One look at every image file: size, whether it can be read, and small descriptions that images are compared by."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from reid_lightning.data.cache_file import checksum
from reid_lightning.data.decoding import decoded, half_decoded, read_regular
from reid_lightning.errors import InputError

GRAY = (32, 16)
"""Height and width of the gray thumbnail that near-duplicates are confirmed by."""
COLORS = 2 * 8 * 2 * 3
"""Length of the color histogram: two halves, 8 hues, 2 saturations, 3 brightnesses."""
_ROWS_PER_TASK = 64


@dataclass(frozen=True)
class ImageFacts:
    """What N image files are, a row each; zeros where a file cannot be read.

    Attributes:
        sizes: Height, width in pixels and bytes of the file, (N, 3) int64.
        checksums: Hash of the pixels in their own size, (N,) uint64.
        hashes: Perceptual hash, (N,) uint64, see `perceptual_hash`.
        gray: Gray thumbnails, (N, 32, 16) uint8.
        colors: Color histograms, (N, 96) float16, rows add up to 1.
        damaged: Reason by row of files that cannot be read.
    """

    sizes: np.ndarray
    checksums: np.ndarray
    hashes: np.ndarray
    gray: np.ndarray
    colors: np.ndarray
    damaged: dict[int, str]


def perceptual_hash(gray: np.ndarray) -> int:
    """Return 64 bits of a gray image: which of its 8 x 8 lowest cosine frequencies are above their median.

    Scaling, JPEG compression and slight changes of brightness hardly change it.

    Args:
        gray: (H, W) uint8.

    Examples:
        >>> ramp = np.tile(np.arange(64, dtype=np.uint8), (128, 1))
        >>> perceptual_hash(ramp) == perceptual_hash(ramp[::2, ::2])
        True
    """
    small = cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = np.round(cv2.dct(small)[:8, :8].ravel(), 1)  # noise of rounding says nothing
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes())


def read_facts(paths: Sequence[str], advance: Callable[[int], object] = lambda images: None) -> ImageFacts:
    """Decode every image once, on all cores.

    Args:
        paths: Image files.
        advance: Told how many images more are done.
    """
    count = len(paths)
    damaged: dict[int, str] = {}
    facts = ImageFacts(
        np.zeros((count, 3), np.int64),
        np.zeros(count, np.uint64),
        np.zeros(count, np.uint64),
        np.zeros((count, *GRAY), np.uint8),
        np.zeros((count, COLORS), np.float16),
        damaged,
    )
    corners = np.zeros((count, 3), np.uint8)

    def look(start: int) -> int:
        stop = min(start + _ROWS_PER_TASK, count)
        for row in range(start, stop):
            try:
                corners[row] = _look(facts, row, paths[row])
            except InputError as error:
                damaged[row] = str(error)
        return stop - start

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        for images in pool.map(look, range(0, count, _ROWS_PER_TASK)):
            advance(images)
    damaged.update(half_decoded(paths, corners))
    return facts


def _look(facts: ImageFacts, row: int, path: str) -> np.ndarray:
    """Write the facts of one image and return its last pixel."""
    data = read_regular(path)
    facts.sizes[row, 2] = len(data)
    image = np.ascontiguousarray(decoded(data, path, path))
    height, width = image.shape[:2]
    facts.sizes[row, :2] = height, width
    facts.checksums[row] = checksum(image) ^ (height << 20 | width)
    small = cv2.resize(image, (32, 64), interpolation=cv2.INTER_AREA)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    facts.hashes[row] = perceptual_hash(gray)
    facts.gray[row] = cv2.resize(gray, GRAY[::-1], interpolation=cv2.INTER_AREA)
    facts.colors[row] = np.concatenate(list(_color_halves(cv2.cvtColor(small, cv2.COLOR_RGB2HSV))))
    return np.asarray(image[-1, -1])


def _color_halves(picture: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the histogram of the upper and of the lower half, whose middle columns count: less of the background."""
    for half in (picture[:32, 6:26], picture[32:, 6:26]):
        counts = cv2.calcHist(
            [np.ascontiguousarray(half)], [0, 1, 2], None, [8, 2, 3], [0, 180, 0, 256, 0, 256]
        )
        yield counts.ravel() / (2 * counts.sum())
