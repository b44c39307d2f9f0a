"""What detectors and cameras do to a picture: imprecise boxes, noise, low contrast."""

from typing import Any

import albumentations as A
import cv2
import numpy as np


class RandomSubWindow(A.ImageOnlyTransform):
    """Show a random part of the image at the image's size, as an imprecise box would (HiQo Solutions / BSU 2019).

    On each axis both edges are uniform over all pairs that are at least `smallest` apart.
    `albumentations.RandomResizedCrop` draws area and ratio instead, `RandomCropFromBorders` each edge within a
    strip of its own.

    Args:
        smallest: Least share of each side that is left, 0 to 1.
        p: Probability that an image is cut.

    Raises:
        ValueError: The share lies outside 0 to 1.
    """

    class InitSchema(A.ImageOnlyTransform.InitSchema):
        """Arguments as albumentations checks them."""

        smallest: float

    def __init__(self, smallest: float = 0.8, p: float = 0.5):
        super().__init__(p=p)
        if not 0 < smallest <= 1:
            raise ValueError(f"smallest must be a share above 0, at most 1, got {smallest}")
        self.smallest = smallest

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the window: top, bottom, left and right edge in pixels."""
        rows, columns = params["shape"][:2]
        return {"window": (*self._edges(rows), *self._edges(columns))}

    def apply(self, img: np.ndarray, window: tuple[int, int, int, int], **params: Any) -> np.ndarray:
        """Cut the window out and enlarge it."""
        top, bottom, left, right = window
        return cv2.resize(img[top:bottom, left:right], img.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    def _edges(self, pixels: int) -> tuple[int, int]:
        # Two sorted uniform draws, pushed apart by the least length: uniform over the allowed pairs.
        least = max(1, round(self.smallest * pixels))
        first, second = sorted(
            (self.py_random.randint(0, pixels - least), self.py_random.randint(0, pixels - least))
        )
        return first, second + least


class AdditiveGaussianNoise(A.ImageOnlyTransform):
    """Add Gaussian noise to every pixel (HiQo Solutions / BSU 2019).

    `albumentations.GaussNoise` draws from OpenCV's generator without seeding it, so that its noise follows from
    the process' past; here it follows from the sample.

    Args:
        deviation: Smallest and largest standard deviation, in gray levels.
        monochrome: The same noise in all channels; otherwise each has its own.
        p: Probability that noise is added.

    Raises:
        ValueError: A deviation is negative or the larger one comes first.
    """

    class InitSchema(A.ImageOnlyTransform.InitSchema):
        """Arguments as albumentations checks them."""

        deviation: tuple[float, float]
        monochrome: bool

    def __init__(
        self, deviation: tuple[float, float] = (0.0, 10.0), monochrome: bool = False, p: float = 0.5
    ):
        super().__init__(p=p)
        if not 0 <= deviation[0] <= deviation[1]:
            raise ValueError(
                f"deviation must be two numbers >= 0, the smaller one first, got {list(deviation)}"
            )
        self.deviation = deviation
        self.monochrome = monochrome

    def get_params(self) -> dict[str, Any]:
        """Draw the standard deviation, and the seed of the noise."""
        return {
            "sigma": self.py_random.uniform(*self.deviation),
            "noise_seed": self.py_random.getrandbits(31),
        }

    def apply(self, img: np.ndarray, sigma: float, noise_seed: int, **params: Any) -> np.ndarray:
        """Return the noisy image, clipped to 0..255."""
        rows, columns, channels = img.shape
        noise: np.ndarray = np.empty((rows, columns if self.monochrome else columns * channels), np.int16)
        cv2.setRNGSeed(noise_seed)  # a quarter of the time that the sample's own generator would take
        cv2.randn(noise, np.zeros(1), np.array([sigma]))
        noise = cv2.merge((noise,) * channels) if self.monochrome else noise.reshape(img.shape)
        return cv2.add(img, noise, dtype=cv2.CV_8U)


class IntensityRescale(A.ImageOnlyTransform):
    """Stretch the image's range of intensities to 0..255 (HiQo Solutions / BSU 2019).

    One range for the three channels together keeps the hues; `albumentations.AutoContrast` stretches each channel
    by itself. An image of a single intensity stays as it is. Nothing is drawn but whether it happens, so that it
    serves evaluation, too.

    Args:
        percentiles: Values at and below the first become 0, at and above the second 255; 0 and 100 are the image's
            smallest and largest value.
        p: Probability that an image is stretched.

    Raises:
        ValueError: The percentiles lie outside 0 to 100 or out of order.
    """

    class InitSchema(A.ImageOnlyTransform.InitSchema):
        """Arguments as albumentations checks them."""

        percentiles: tuple[float, float]

    def __init__(self, percentiles: tuple[float, float] = (0.0, 100.0), p: float = 1.0):
        super().__init__(p=p)
        if not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise ValueError(
                f"percentiles must be two of 0 to 100, the smaller one first, got {list(percentiles)}"
            )
        self.percentiles = percentiles

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        """Return the stretched image."""
        return rescale_intensity(img, *self.percentiles)


def rescale_intensity(image: np.ndarray, low: float = 0.0, high: float = 100.0) -> np.ndarray:
    """Stretch uint8 (H, W, C) so that two percentiles of all its values become 0 and 255.

    A percentile is the smallest value that at least so many percent of all values do not exceed.

    Examples:
        >>> rescale_intensity(np.array([[[50, 100, 75]]], np.uint8))[0, 0].tolist()
        [0, 255, 128]
    """
    counts = cv2.calcHist([image.reshape(-1, 1)], [0], None, [256], [0, 256]).ravel()
    below = counts.cumsum(dtype=np.float64)
    wanted = np.array([low, high]) / 100 * image.size
    darkest, lightest = np.searchsorted(below, np.maximum(wanted, 1)).tolist()
    if lightest <= darkest:
        return image
    stretched = (np.arange(256) - darkest) * 255 / (lightest - darkest)
    return cv2.LUT(image, np.clip(np.rint(stretched), 0, 255).astype(np.uint8))
