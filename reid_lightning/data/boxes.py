"""Boxes of people in a frame: what is one, and what is cut out."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def corners_of(boxes: Any) -> NDArray[np.float64]:
    """Return boxes as (N, 4) corners x1, y1, x2, y2.

    Args:
        boxes: (N, 4) numbers, an array or lists.

    Raises:
        ValueError: They are something else.
    """
    try:
        given = np.asarray(np.ma.filled(boxes, np.nan) if isinstance(boxes, np.ma.MaskedArray) else boxes)
        if given.dtype.kind not in "iufO":  # no text, truth, times or complex numbers
            raise TypeError
        corners = given.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"boxes must be (N, 4) numbers, got {type(boxes).__name__}") from None
    if corners.size == 0 and corners.shape in ((0,), (0, 4)):
        return corners.reshape(0, 4)
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise ValueError(f"boxes must be (N, 4) corners x1, y1, x2, y2, got {corners.shape}")
    wrong = ~np.isfinite(corners).all(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"box {row} is not finite: {corners[row].tolist()}")
    wrong = (corners[:, 2] < corners[:, 0]) | (corners[:, 3] < corners[:, 1])
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"box {row} ends before it begins, {corners[row].tolist()}: boxes are corners x1, y1, x2, y2, and not a corner "
            "with width and height"
        )
    return corners


def cut(pixels: Pixels, corners: NDArray[np.float64]) -> tuple[list[Pixels], list[int]]:
    """Cut boxes out of a frame, `frame[round(y1):round(y2), round(x1):round(x2)]`, clipped to it.

    Args:
        pixels: (H, W, 3).
        corners: (N, 4), see `corners_of`.

    Returns:
        The crops of those boxes that have an area in the frame, and the positions of these boxes.
    """
    height, width = pixels.shape[:2]
    edges = np.clip(np.rint(corners), 0, [width, height, width, height]).astype(int)
    found = [
        (pixels[top:bottom, left:right], row)  # no copy: many large boxes take no more memory than the frame
        for row, (left, top, right, bottom) in enumerate(edges.tolist())
        if right > left and bottom > top
    ]
    return [crop for crop, _ in found], [row for _, row in found]
