"""Images of too little quality: measured, left out, and named."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_lightning.data.quality import Crop, Quality, file_qualities
from reid_lightning.inference.options import require_option
from reid_lightning.reporting.terminal import say

NAMED = 3  # images that a sentence names


class Measured(NamedTuple):
    """Images by their quality."""

    scores: NDArray[np.float64]
    """(N,) from 0 to 1."""
    enough: NDArray[np.bool_]
    """(N,) whether the score reaches the least that was asked for."""
    left_out: tuple[str, ...]
    """What the others are called, with score and faults, worst first."""


def require_quality(minimum: float | None) -> None:
    """Refuse a least quality that is not a score.

    Raises:
        InputError: It is not.
    """
    fits = minimum is None or 0 <= minimum <= 1
    require_option("--min-quality", fits, "be between 0 and 1", minimum)


def measured(paths: Sequence[str], minimum: float, crop: Crop = "body") -> Measured:
    """Measure image files.

    Args:
        paths: The files.
        minimum: Least score, from 0 to 1.
        crop: "body" or "face".

    Raises:
        InputError: A file is missing or cannot be decoded.
    """
    found = file_qualities(paths, crop)
    scores = np.array([one.score for one in found])
    enough = scores >= minimum
    worst = [row for row in np.argsort(scores, kind="stable") if not enough[row]]
    return Measured(scores, enough, tuple(_named(paths[row], found[row]) for row in worst))


def say_left_out(left_out: Sequence[str], images: int, minimum: float, what: str = "images") -> None:
    """Say how many images are left out, and name the first of them; say nothing where there are none.

    Args:
        left_out: As of `Measured`.
        images: Of how many.
        minimum: The least score.
        what: What the images are called.
    """
    if left_out:
        more = f" and {len(left_out) - NAMED:,} more" if len(left_out) > NAMED else ""
        say(
            f"left out {len(left_out):,} of {images:,} {what} of a quality below {minimum:g}: "
            f"{', '.join(left_out[:NAMED])}{more}"
        )


def _named(path: str, quality: Quality) -> str:
    faults = quality.faults or ("each part a little",)
    return f"{Path(path).name} ({quality.score:.2f}: {', '.join(faults)})"
