"""Where two groups are as likely to be one person as not, when people have answered about some pairs."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit

from reid_lightning.errors import require

SPREAD = 2.0  # standard deviation of the shift before anybody has answered, in log odds


def answered_threshold(threshold: float, slope: float, distances: ArrayLike, same: ArrayLike) -> float:
    """Move a threshold to where the answers say that a pair is one person as often as not.

    The slope stays, and the intercept is the mode of its posterior: a normal prior around the given threshold, and a
    logistic likelihood of each answer. A few answers move it little; the pairs near the threshold, which are the ones that
    are asked about, tell most.

    Args:
        threshold: Distance at which a pair is as likely to be one person as not, as it was believed before.
        slope: Of the log odds against the distance, above 0.
        distances: (n,) of the two images of each answered pair.
        same: (n,) whether they were called one person.

    Returns:
        The new threshold, 0 or more.

    Raises:
        ValueError: The slope is not above 0, or the shapes do not fit.

    Examples:
        >>> answered_threshold(0.3, 10.0, [], [])
        0.3
        >>> near = answered_threshold(0.3, 10.0, [0.4] * 50, [True] * 40 + [False] * 10)  # odds of 4 at 0.4
        >>> bool(0.4 < near < 0.4 + np.log(4) / 10)
        True
    """
    require(slope > 0, "slope", "> 0", slope)
    far, truth = np.asarray(distances, np.float64), np.asarray(same, np.float64)
    require(far.shape == truth.shape, "same", f"of the shape {far.shape} of distances", truth.shape)
    if not far.size:
        return threshold

    def pull(shift: float) -> float:
        return float((expit(slope * (threshold - far) + shift) - truth).sum() + shift / SPREAD**2)

    most = SPREAD**2 * far.size + 1.0  # where the prior outweighs all answers
    return max(0.0, threshold + float(brentq(pull, -most, most)) / slope)
