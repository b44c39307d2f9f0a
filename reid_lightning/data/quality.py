"""How usable the image of a person or a face is: its size, sharpness, light and shape, each a number, and one score.

It looks at pixels alone and knows neither the person nor the model. Whether a score helps a model is to be measured.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_lightning.data.decoding import decode_pixels
from reid_lightning.errors import InputError

Crop = Literal["body", "face"]
PIXELS: dict[Crop, int] = {"body": 128 * 64, "face": 64 * 64}
"""Pixels from which on an image is large enough; larger ones are shrunk to so many before their blur is measured."""
SHAPES: dict[Crop, tuple[float, float]] = {"body": (1.5, 4.0), "face": (0.8, 1.8)}
"""Height over width of whole bodies and faces: outside of it, something is cut off or the box is wrong."""
SHARP, LIGHT, CONTRAST = 0.6, 0.2, 0.1  # from which on a part is 1
WINDOW = 9  # pixels that blur an image once more
POOR = 0.5  # below, a part is named


class Quality(NamedTuple):
    """What is measured of an image, each from 0 (useless) to 1 (nothing to complain of)."""

    size: float
    """Square root of its pixels over those of `PIXELS`."""
    sharpness: float
    """Share of the differences between neighboring pixels that blurring takes away, over `SHARP`."""
    brightness: float
    """Distance of the mean luminance from black or from white, whichever is nearer, over `LIGHT`."""
    contrast: float
    """Standard deviation of the luminance over `CONTRAST`."""
    shape: float
    """How far height over width lies outside of `SHAPES`: their ratio."""
    is_dark: bool = True
    """Whether the mean luminance is nearer to black than to white."""

    @property
    def score(self) -> float:
        """Product of the five parts, from 0 to 1."""
        return float(np.prod(self[:5]))

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, in words: the parts below `POOR`.

        Examples:
            >>> Quality(1.0, 0.2, 0.4, 1.0, 1.0).faults
            ('blurred', 'too dark')
        """
        light = "too dark" if self.is_dark else "too bright"
        words = ("too small", "blurred", light, "low contrast", "of an odd shape")
        return tuple(word for word, part in zip(words, self[:5], strict=True) if part < POOR)


def crop_quality(image: NDArray[np.uint8], crop: Crop = "body") -> Quality:
    """Measure an image as it is in its file, before it is resized for a network.

    Blur is measured by blurring once more (Crete, Dolmiere, Ladret and Nicolas, "The blur effect", SPIE 2007): with D the
    absolute differences of neighbors of the luminance, and D' those after a mean of 9 pixels along the same axis, it is
    sum(max(0, D - D')) / sum(D), which contrast and light do not change; the blurrier axis counts. A camera that enlarges
    a small picture makes it blurred. Noise looks sharp.

    Args:
        image: (H, W, 3), red first.
        crop: "body" or "face": what size and shape are expected.

    Raises:
        InputError: The kind of crop is unknown.
        ValueError: The image has another shape or type.

    Examples:
        >>> draw = np.random.default_rng(0)
        >>> crop_quality(draw.integers(0, 256, (128, 64, 3), np.uint8)).score
        1.0
        >>> crop_quality(np.zeros((128, 64, 3), np.uint8)).faults
        ('blurred', 'too dark', 'low contrast')
    """
    if crop not in get_args(Crop):
        raise InputError(f"The kind of crop '{crop}' is unknown; choose one of {', '.join(get_args(Crop))}.")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"an image must be (H, W, 3) of uint8, got {image.shape} of {image.dtype}")
    height, width = image.shape[:2]
    size = float(np.sqrt(height * width / PIXELS[crop]))
    if size > 1:
        small = max(1, round(width / size)), max(1, round(height / size))
        image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
    luminance = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) / np.float32(255)).astype(np.float32)
    mean, deviation = float(luminance.mean()), float(luminance.std())
    narrowest, widest = SHAPES[crop]
    ratio = height / width
    return Quality(
        min(1.0, size),
        min(1.0, _sharpness(luminance) / SHARP),
        min(1.0, mean / LIGHT, (1 - mean) / LIGHT),
        min(1.0, deviation / CONTRAST),
        min(1.0, ratio / narrowest, widest / ratio),
        mean < 0.5,
    )


def file_qualities(paths: Sequence[str], crop: Crop = "body") -> list[Quality]:
    """Measure image files, see `crop_quality`.

    Raises:
        InputError: A file is missing or cannot be decoded, or the kind of crop is unknown.
    """
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda path: crop_quality(decode_pixels(path), crop), paths))


def _sharpness(luminance: NDArray[np.float32]) -> float:
    """Return the smaller share of differences, along rows and along columns, that a mean of `WINDOW` pixels takes away."""
    shares = []
    for axis, window in enumerate(((1, WINDOW), (WINDOW, 1))):
        blurred = cv2.blur(luminance, window, borderType=cv2.BORDER_REFLECT)
        before, after = (np.abs(np.diff(values, axis=axis)) for values in (luminance, blurred))
        total = float(before.sum())
        shares.append(float(np.maximum(0, before - after).sum()) / total if total else 0.0)
    return min(shares)
