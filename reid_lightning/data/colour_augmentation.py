"""Colors through a random gradient map, laid over the picture with soft light."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import albumentations as A
import cv2
import numpy as np

# Neighboring colors of a continuous map of 256 differ less, as shares of a channel's range: leaves out flag,
# prism, gist_stern and gist_earth, which jump.
_LARGEST_STEP = 0.1
# a (1 - a) in gray levels: how far soft light moves a channel of value a at most.
_ROOM = (np.arange(256, dtype=np.float32) * (255 - np.arange(256, dtype=np.float32)) / 255).reshape(1, 256)


class GradientMapColour(A.ImageOnlyTransform):
    """Blend a random matplotlib colormap of the luminance over the image (HiQo Solutions / BSU 2019).

    The luminance (Rec. 601, as `cv2.cvtColor` rounds it) picks a color b out of a colormap for every pixel.
    Soft light in Pegtop's form, which unlike the W3C's has no kink at b = 1/2, lays it over the image a:
    `s = (1 - 2b) a² + 2ab`, values 0 to 1. The result is `w s + (1 - w) a`. Black and white stay what they are,
    b = 1/2 changes nothing.

    Args:
        colormaps: Names of matplotlib; None draws from all continuous ones.
        weight: Smallest and largest share w of the blend, 0 to 1.
        p: Probability that an image is changed.

    Raises:
        ValueError: matplotlib has no such colormap, or a weight lies outside 0 to 1.
    """

    class InitSchema(A.ImageOnlyTransform.InitSchema):
        """Arguments as albumentations checks them."""

        colormaps: Sequence[str] | None
        weight: tuple[float, float]

    def __init__(
        self, colormaps: Sequence[str] | None = None, weight: tuple[float, float] = (0.2, 1.0), p: float = 0.5
    ):
        super().__init__(p=p)
        if not 0 <= weight[0] <= weight[1] <= 1:
            raise ValueError(
                f"weight must be two shares from 0 to 1, the smaller one first, got {list(weight)}"
            )
        self.colormaps = colormaps
        self.weight = weight
        self._names = tuple(colormaps) if colormaps is not None else continuous_colormaps()
        for name in self._names:
            gradient(name)

    def get_params(self) -> dict[str, Any]:
        """Draw the colormap and the share of the blend."""
        return {
            "colormap": self.py_random.choice(self._names),
            "share": self.py_random.uniform(*self.weight),
        }

    def apply(self, img: np.ndarray, colormap: str, share: float, **params: Any) -> np.ndarray:
        """Return the blended image."""
        return soft_light(img, gradient(colormap), share)


def soft_light(image: np.ndarray, colours: np.ndarray, share: float) -> np.ndarray:
    """Blend an image with the gradient map of its own luminance.

    The weighted sum above is `a - w (1 - 2b) a (1 - a)`, so two tables of 256 values make it.

    Args:
        image: uint8 (H, W, 3), red first.
        colours: Color of each luminance, float32 (256, 3), 0 to 1.
        share: w, 0 to 1.

    Returns:
        uint8 (H, W, 3).

    Examples:
        >>> grey, red = np.full((1, 1, 3), 102, np.uint8), np.tile(np.float32([1, 0.5, 0]), (256, 1))
        >>> soft_light(grey, red, 1.0)[0, 0].tolist()  # 102 + 61.2, 102, 102 - 61.2
        [163, 102, 41]
    """
    luminance = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    moved = cv2.LUT(cv2.merge((luminance,) * 3), ((2 * colours - 1) * np.float32(share)).reshape(1, 256, 3))
    cv2.multiply(moved, cv2.LUT(image, _ROOM), dst=moved)
    return cv2.add(image, moved, dtype=cv2.CV_8U)


@cache
def gradient(name: str) -> np.ndarray:
    """Return a colormap's colors as float32 (256, 3), 0 to 1.

    Raises:
        ValueError: matplotlib has no such colormap.
    """
    import matplotlib  # takes a seventh of a second, for this augmentation alone

    try:
        colormap = matplotlib.colormaps[name]
    except KeyError:
        raise ValueError(f"colormaps names {name}, which matplotlib does not have") from None
    return np.asarray(colormap(np.linspace(0, 1, 256))[:, :3], np.float32)


@cache
def continuous_colormaps() -> tuple[str, ...]:
    """Return the names of matplotlib's colormaps whose neighboring colors are close."""
    import matplotlib

    return tuple(
        sorted(
            name
            for name in matplotlib.colormaps
            if np.abs(np.diff(gradient(name), axis=0)).max() < _LARGEST_STEP
        )
    )
