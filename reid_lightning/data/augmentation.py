"""Augmentation in uint8, and the randomness that belongs to a sample rather than to a worker."""

import math
import os
import random
from typing import Any

# albumentations asks the network for a newer version when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import numpy as np

_ZEROS = np.zeros(4, np.uint64)


class SampleRandomness:
    """Makes a transform's draws depend on a sample's seed alone.

    A transform seeded once per worker draws the same stream in every worker and every epoch. Here one pair of
    generators is handed to the whole transform, and `seed` sets both to a state that follows from the sample:
    a few microseconds instead of the hundreds of `Compose.set_random_seed`.

    Examples:
        >>> flip = A.Compose([A.RandomBrightnessContrast(p=1.0)])
        >>> randomness, image = SampleRandomness(flip), np.full((4, 2, 3), 100, np.uint8)
        >>> values = []
        >>> for seed in (1, 2, 1):
        ...     randomness.seed(seed)
        ...     values.append(int(flip(image=image)["image"][0, 0, 0]))
        >>> values[0] == values[2] != values[1]
        True
    """

    def __init__(self, transform: A.BaseCompose):
        self._philox = np.random.Philox(0)
        self._python = random.Random(0)
        transform.set_random_state(np.random.Generator(self._philox), self._python)

    def seed(self, seed: int) -> None:
        """Set both generators to the start of the stream that `seed` (0 to 2^64 - 1) names."""
        key = np.array([seed, 0], np.uint64)
        self._philox.state = {
            "bit_generator": "Philox",
            "state": {"counter": _ZEROS, "key": key},
            "buffer": _ZEROS,
            "buffer_pos": 4,  # nothing left in the buffer
            "has_uint32": 0,
            "uinteger": 0,
        }
        self._python.seed(seed)


class RandomErasing(A.ImageOnlyTransform):
    """Paint a random rectangle in one color (Zhong et al., "Random Erasing Data Augmentation", Alg. 1).

    The area is uniform within `area` and the ratio of height to width within (`ratio`, 1 / `ratio`); a
    rectangle that does not fit is drawn again, at most 100 times. `albumentations.Erasing` instead shrinks the
    largest area until every ratio fits, to 15 % of a 256 x 128 image.

    Args:
        area: Smallest and largest share of the image's area.
        ratio: Smallest ratio of height to width, 0 to 1.
        fill: Color (red, green, blue), 0 to 255; the default is the mean of ImageNet, which normalization
            turns into 0.
        p: Probability that a rectangle is painted.
    """

    class InitSchema(A.ImageOnlyTransform.InitSchema):
        """Arguments as albumentations checks them."""

        area: tuple[float, float]
        ratio: float
        fill: tuple[int, int, int]

    def __init__(
        self,
        area: tuple[float, float] = (0.02, 0.4),
        ratio: float = 0.3,
        fill: tuple[int, int, int] = (124, 116, 104),
        p: float = 0.5,
    ):
        super().__init__(p=p)
        self.area = area
        self.ratio = ratio
        self.fill = fill

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the rectangle: top, left, height and width in pixels."""
        rows, columns = params["shape"][:2]
        draw = self.py_random
        for _ in range(100):
            area = draw.uniform(*self.area) * rows * columns
            ratio = draw.uniform(self.ratio, 1 / self.ratio)
            height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if height < rows and width < columns:
                top, left = draw.randint(0, rows - height), draw.randint(0, columns - width)
                return {"rectangle": (top, left, height, width)}
        return {"rectangle": (0, 0, 0, 0)}

    def apply(self, img: np.ndarray, rectangle: tuple[int, int, int, int], **params: Any) -> np.ndarray:
        """Paint the rectangle on a copy of the image."""
        top, left, height, width = rectangle
        erased = img.copy()
        erased[top : top + height, left : left + width] = self.fill
        return erased
