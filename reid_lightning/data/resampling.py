"""Pillow's filters in numpy, bit for bit: how networks of other packages want images resized, where Pillow is not installed.

Each axis is a weighted sum over all pixels that the filter reaches, in whole numbers of 22 binary digits. Between the axes
pixels are rounded; which axis comes first is Pillow 13's rule.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_DIGITS = 22  # of a weight
Pixels = NDArray[np.uint8]


def _box(x: float) -> float:
    return 1.0 if -0.5 < x <= 0.5 else 0.0


def _bilinear(x: float) -> float:
    return max(0.0, 1 - abs(x))


def _hamming(x: float) -> float:
    x = abs(x)
    if x == 0:
        return 1.0
    if x >= 1:
        return 0.0
    x *= math.pi
    return math.sin(x) / x * (0.54 + 0.46 * math.cos(x))


def _bicubic(x: float) -> float:
    a, x = -0.5, abs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def _sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(x * math.pi) / (x * math.pi)


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if -3 <= x < 3 else 0.0


_FILTERS: dict[str, tuple[Callable[[float], float], float]] = {
    "box": (_box, 0.5),
    "bilinear": (_bilinear, 1.0),
    "hamming": (_hamming, 1.0),
    "bicubic": (_bicubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}
#: What `resize` knows.
NAMES = ("nearest", *_FILTERS)


def resize(image: Pixels, size: tuple[int, int], name: str) -> Pixels:
    """Return an image as Pillow resizes it.

    Args:
        image: (H, W, 3) uint8.
        size: Height and width in pixels.
        name: One of `NAMES`.

    Examples:
        >>> resize(np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8), (1, 3), "bilinear")[0, :, 0].tolist()
        [0, 128, 255]
    """
    height, width = size
    if name == "nearest":
        rows, columns = (
            np.minimum(np.cumsum([0.5 * (old / new), *[old / new] * (new - 1)]).astype(int), old - 1)
            for new, old in ((height, image.shape[0]), (width, image.shape[1]))
        )
        return np.ascontiguousarray(image[rows[:, None], columns])
    shrinking = image.shape[0] - height
    rows_first = shrinking > 0 and shrinking > 2 * (image.shape[1] - width)
    for axis in (0, 1) if rows_first else (1, 0):
        if image.shape[axis] != size[axis]:
            image = _along(image.swapaxes(0, axis), size[axis], name).swapaxes(0, axis)
    return np.ascontiguousarray(image)


def _along(image: Pixels, size: int, name: str) -> Pixels:
    """Resize the first axis of (n, m, 3)."""
    first, weights = _weights(image.shape[0], size, name)
    total = np.full((size, *image.shape[1:]), 1 << (_DIGITS - 1), np.int64)
    for tap in range(weights.shape[1]):
        rows = np.minimum(first + tap, image.shape[0] - 1)  # weights beyond are 0
        total += weights[:, tap, None, None] * image[rows]
    return np.clip(total >> _DIGITS, 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=256)
def _weights(old: int, new: int, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (new,) first pixels, and the (new, taps) weights of those from there on."""
    function, support = _FILTERS[name]
    scale = old / new
    stretch = max(scale, 1.0)
    support *= stretch
    taps = math.ceil(support) * 2 + 1
    first, weights = np.zeros(new, np.int64), np.zeros((new, taps), np.int64)
    for place in range(new):
        center = (place + 0.5) * scale
        low = max(0, int(center - support + 0.5))
        high = min(old, int(center + support + 0.5))
        row = [function((x + low - center + 0.5) * (1 / stretch)) for x in range(high - low)]
        total = sum(row)
        first[place] = low
        for tap, value in enumerate(row):
            share = value / total if total else value
            weights[place, tap] = int(share * (1 << _DIGITS) + (0.5 if share >= 0 else -0.5))
    return first, weights
