"""Things in the street of a scene that hide people behind them."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Foot = Callable[[np.ndarray], tuple[float, float, float]]


@dataclass
class Thing:
    """Something that stands still.

    Attributes:
        away: Meters from the camera.
        pixels: (rows, columns, 4), RGB times alpha and alpha.
        left: Column of its left edge in the frame.
        top: Row of its upper edge in the frame.
    """

    away: float
    pixels: np.ndarray
    left: int
    top: int


def make_things(rng: np.random.Generator, foot_of: Foot) -> list[Thing]:
    """Place a column of posters, two or three lamp posts, a planter and a small tree, at different places.

    Args:
        rng: Draws places, sizes and colors.
        foot_of: Column, row and pixels a meter of a place on the ground.
    """
    makers = [_advertising_column, _post, _post, _planter, _tree] + [_post] * int(rng.random() < 0.5)
    lanes = np.linspace(-0.52, 0.52, len(makers)) + rng.uniform(-0.05, 0.05, len(makers))
    things = []
    for make, lane in zip(makers, rng.permutation(lanes), strict=True):
        away = float(rng.uniform(7.2, 10.5))
        column, row, scale = foot_of(np.asarray([lane * away, away]))
        patch = make(rng, scale)
        left, top = round(column - patch.shape[1] / 2), round(row - patch.shape[0] + 0.06 * scale)
        things.append(Thing(away, patch, left, top))
    return things


def _blank(wide: float, high: float) -> np.ndarray:
    return np.zeros((max(round(high), 4), max(round(wide), 3), 4), np.float32)


def _round(patch: np.ndarray, colour: np.ndarray) -> None:
    """Fill a patch as a standing cylinder, lit from the upper left."""
    across = np.linspace(-1, 1, patch.shape[1], dtype=np.float32)
    light = 0.45 + 0.6 * np.sqrt(1 - across**2 * 0.96) * (1 - 0.35 * across)
    patch[..., :3] = colour * light[None, :, None]
    patch[..., 3] = 1


def _advertising_column(rng: np.random.Generator, scale: float) -> np.ndarray:
    """A column of 1.1 m covered with posters, with a cap."""
    patch = _blank(1.1 * scale, 2.9 * scale)
    _round(patch, np.asarray([0.5, 0.5, 0.46], np.float32))
    rows, columns = patch.shape[:2]
    light = patch[rows // 2, :, 0] / 0.5
    for _ in range(7):
        y, x = int(rng.uniform(0.12, 0.7) * rows), int(rng.uniform(-0.1, 0.8) * columns)
        high, wide = int(rng.uniform(0.12, 0.24) * rows), int(rng.uniform(0.25, 0.5) * columns)
        ground = rng.uniform(0.15, 0.95, 3).astype(np.float32)
        x0, x1 = max(x, 0), min(x + wide, columns)
        patch[y : y + high, x0:x1, :3] = ground * light[None, x0:x1, None]
        for line in range(y + 3, y + high - 2, 4):
            patch[line : line + 1, x0 + 2 : max(x1 - 3, x0 + 2), :3] = 1 - ground
    cap = max(3, rows // 14)
    patch[:cap] *= 0.45
    patch[:cap, :, 3] = 1
    patch[-max(3, rows // 20) :, :, :3] *= 0.5
    return patch


def _post(rng: np.random.Generator, scale: float) -> np.ndarray:
    """A lamp post of 12 to 20 cm that is higher than the view."""
    patch = _blank(float(rng.uniform(0.12, 0.2)) * scale, 6 * scale)
    tone = float(rng.uniform(0.15, 0.6))
    _round(patch, np.asarray([tone, tone, tone * 1.05], np.float32))
    return patch


def _planter(rng: np.random.Generator, scale: float) -> np.ndarray:
    """A box of 1.4 m with plants up to the hip."""
    patch = _blank(1.4 * scale, 1.05 * scale)
    rows = len(patch)
    tone = float(rng.uniform(0.3, 0.55))
    patch[rows // 2 :, :, :3] = (tone, tone * 0.95, tone * 0.88)
    patch[rows // 2 : rows // 2 + 3, :, :3] *= 1.25
    patch[-3:, :, :3] *= 0.6
    patch[rows // 2 :, :, 3] = 1
    _leaves(rng, patch, 130, (0.1, 0.9), (0.22, 0.5), (1.5, 0.05 * scale))
    return patch


def _tree(rng: np.random.Generator, scale: float) -> np.ndarray:
    """A trunk of 25 cm whose crown begins above the heads."""
    patch = _blank(2.2 * scale, 4.6 * scale)
    rows, columns = patch.shape[:2]
    trunk = _blank(0.25 * scale, rows)
    _round(trunk, np.asarray([0.3, 0.23, 0.17], np.float32))
    left = (columns - trunk.shape[1]) // 2
    patch[:, left : left + trunk.shape[1]] = trunk
    _leaves(rng, patch, 260, (0.12, 0.88), (0.02, 0.36), (2.0, 0.09 * scale))
    return patch


def _leaves(
    rng: np.random.Generator,
    patch: np.ndarray,
    count: int,
    across: tuple[float, float],
    down: tuple[float, float],
    size: tuple[float, float],
) -> None:
    """Scatter leaves over a part of a patch, given in shares of its columns and rows."""
    rows, columns = patch.shape[:2]
    for _ in range(count):
        centre = int(rng.uniform(*across) * columns), int(rng.uniform(*down) * rows)
        green = np.asarray([0.24, 0.34, 0.17]) * rng.uniform(0.4, 1.35)
        colour = [*(float(value) for value in green), 1.0]
        cv2.circle(patch, centre, max(1, int(rng.uniform(*size))), colour, -1, cv2.LINE_AA)
