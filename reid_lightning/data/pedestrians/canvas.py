"""Rounded, shaded, textured parts painted on a picture: the pencil of the drawn people."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from reid_lightning.data.pedestrians.clothes import COLUMNS, ROWS

# Outlines: (place along the axis, half width) pairs; the widest is 1.
_OUTLINES = {
    "limb": ((0.0, 0.45), (0.04, 0.75), (0.12, 0.97), (0.25, 1.0), (0.88, 0.74), (0.95, 0.6), (1.0, 0.3)),
    "calf": ((0.0, 0.5), (0.05, 0.85), (0.3, 1.0), (0.6, 0.8), (0.9, 0.56), (0.97, 0.5), (1.0, 0.3)),
    "sleeve": ((0.0, 0.3), (0.08, 0.7), (0.3, 1.0), (0.9, 0.96), (1.0, 0.92)),
    "trouser": ((0.0, 0.7), (0.07, 0.92), (0.25, 1.0), (0.7, 0.86), (1.0, 0.78)),
    "tube": ((0.0, 0.88), (0.1, 0.97), (0.5, 1.0), (0.9, 0.95), (1.0, 0.9)),
    "man": ((0.0, 0.38), (0.035, 0.5), (0.09, 0.88), (0.15, 0.98), (0.25, 1.0), (0.65, 0.9), (0.9, 0.9), (1.0, 0.9)),
    "woman": ((0.0, 0.38), (0.035, 0.5), (0.09, 0.88), (0.16, 0.98), (0.3, 0.97), (0.58, 0.78), (0.85, 1.0), (1.0, 1.02)),
    "profile": ((0.0, 0.5), (0.06, 0.72), (0.2, 0.95), (0.35, 1.0), (0.7, 0.9), (0.9, 0.97), (1.0, 0.95)),
    "seat": ((0.0, 0.92), (0.3, 1.0), (0.7, 1.0), (1.0, 0.72)),
    "skirt": ((0.0, 0.62), (0.2, 0.76), (0.5, 0.88), (1.0, 1.0)),
    "head": ((0.0, 0.3), (0.03, 0.5), (0.1, 0.78), (0.22, 0.96), (0.4, 1.0), (0.6, 0.95), (0.8, 0.78), (1.0, 0.35)),
    "round": ((0.0, 0.25), (0.05, 0.55), (0.15, 0.82), (0.3, 0.97), (0.5, 1.0), (0.7, 0.97), (0.85, 0.82), (1.0, 0.25)),
    "pack": ((0.0, 0.5), (0.06, 0.78), (0.18, 0.93), (0.6, 1.0), (0.92, 0.96), (1.0, 0.8)),
    "mane": ((0.0, 0.35), (0.05, 0.65), (0.15, 0.9), (0.4, 1.0), (0.8, 0.95), (1.0, 0.7)),
    "tail": ((0.0, 0.5), (0.2, 0.9), (0.4, 1.0), (0.8, 0.6), (1.0, 0.2)),
    "cap": ((0.0, 0.4), (0.1, 0.68), (0.3, 0.9), (0.6, 0.99), (1.0, 1.0)),
    "brim": ((0.0, 0.45), (0.1, 0.5), (0.45, 0.58), (0.55, 0.8), (0.75, 1.0), (0.9, 0.97), (1.0, 0.7)),
    "shoe": ((0.0, 0.7), (0.1, 0.95), (0.35, 1.0), (0.75, 0.85), (0.92, 0.65), (1.0, 0.3)),
}  # fmt: skip
_SIZES = {
    "man": (56, 40),
    "woman": (56, 40),
    "profile": (56, 32),
    "skirt": (44, 40),
    "head": (28, 24),
    "pack": (44, 36),
}
_FOLDS = 12


@dataclass(frozen=True)
class Form:
    """An outline ready to be covered with cloth; all arrays are (rows, columns) of the part.

    Attributes:
        index: Where the cloth's color lies at yaw 0, in the flattened roll.
        alpha: Coverage in 0..1.
        sine: Direction of the surface across the axis, -1 at the left edge and 1 at the right one.
        cosine: Direction of the surface toward the camera.
    """

    index: np.ndarray
    alpha: np.ndarray
    sine: np.ndarray
    cosine: np.ndarray


@cache
def form(name: str) -> Form:
    """Return the form of a named outline, made once a process."""
    rows, columns = _SIZES.get(name, (36, 18))
    along = (np.arange(rows) + 0.5) / rows
    place, width = zip(*_OUTLINES[name], strict=True)
    half = np.interp(along, place, np.asarray(width) / max(width))[:, None]
    across = ((np.arange(columns) + 0.5) / columns * 2 - 1)[None, :] * (1 + 2 / columns)
    sine = np.clip(across / half, -1, 1)
    alpha = np.clip((half - np.abs(across)) * columns / 2 + 0.5, 0, 1)
    cloth_row = np.minimum((along * ROWS).astype(np.int64), ROWS - 1)[:, None]
    cloth_column = ((np.arcsin(sine) / (2 * np.pi) + 0.5) * COLUMNS).astype(np.int64)
    return Form(
        index=cloth_row * (2 * COLUMNS) + cloth_column,
        alpha=alpha.astype(np.float32),
        sine=sine.astype(np.float32),
        cosine=np.sqrt(1 - sine**2).astype(np.float32),
    )


@cache
def _folds(shape: tuple[int, int]) -> np.ndarray:
    """Return brightness of creased cloth, (_FOLDS, rows, columns), mean 1: soft lines, mostly oblique."""
    rng = np.random.default_rng(20)
    folds = []
    for _ in range(_FOLDS):
        noise: np.ndarray = rng.normal(size=(shape[0] * 2, shape[1] * 2)).astype(np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=shape[1] / 5, sigmaY=1.8)
        turn = cv2.getRotationMatrix2D((shape[1], shape[0]), float(rng.uniform(-50, 50)), 1.0)
        noise = cv2.warpAffine(noise, turn, noise.shape[::-1], borderMode=cv2.BORDER_REFLECT)
        noise = noise[shape[0] // 2 : shape[0] // 2 + shape[0], shape[1] // 2 : shape[1] // 2 + shape[1]]
        folds.append(1 + 0.06 * np.clip((noise - noise.mean()) / (noise.std() + 1e-6), -2.2, 2.2))
    return np.asarray(folds, np.float32)


@dataclass(frozen=True)
class Light:
    """Light on a person.

    Attributes:
        side: Direction of the light in radians: 0 from the camera, positive from the image's right.
        ambient: Share of the light that comes from everywhere.
    """

    side: float
    ambient: float


class Canvas:
    """A picture under construction and, per pixel, which part was painted last.

    Args:
        pixels: (rows, columns, 3) float32 RGB in 0..1; painted in place.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.owner: np.ndarray = np.zeros(pixels.shape[:2], np.uint8)

    def part(
        self,
        name: str,
        cloth: np.ndarray,
        ends: tuple[float, float, float, float],
        half_width: float,
        yaw: float,
        light: Light,
        owner: int,
        fold: int | None = None,
        dim: float = 1.0,
    ) -> None:
        """Paint one rounded part covered with cloth.

        Args:
            name: Outline.
            cloth: A roll as `Outfit` holds it.
            ends: Column and row of the axis' top, then of its bottom.
            half_width: Half width where it is widest, in pixels.
            yaw: Turn of the part in radians.
            light: Direction and share of the light.
            owner: Number noted in `owner` where the part covers.
            fold: Which creases to lay over the cloth; None for a smooth surface.
            dim: Brightness, below 1 in the shade of another part.
        """
        shape = form(name)
        turn = round(-yaw / (2 * np.pi) * COLUMNS) % COLUMNS
        patch = cloth.reshape(-1, 4).take(shape.index + turn, axis=0)
        glow = shape.cosine * np.float32(np.cos(light.side))
        glow += shape.sine * np.float32(np.sin(light.side))
        np.maximum(glow, 0, out=glow)
        glow *= np.float32((1 - light.ambient) * dim)
        glow += np.float32(light.ambient * dim)
        if fold is not None:
            glow *= _folds(shape.alpha.shape)[fold % _FOLDS]
        glow *= shape.alpha
        cv2.multiply(patch, cv2.merge((glow, glow, glow, shape.alpha)), dst=patch)
        self.stamp(patch, ends, half_width, owner)

    def stamp(
        self, patch: np.ndarray, ends: tuple[float, float, float, float], half_width: float, owner: int = 0
    ) -> None:
        """Lay a patch (rows, columns, 4: RGB times alpha, alpha) along an axis; owner 0 notes nothing."""
        rows, columns = patch.shape[:2]
        left, top, right, bottom = ends[0], ends[1], ends[2], ends[3]
        down_x, down_y = (right - left) / rows, (bottom - top) / rows
        length = float(np.hypot(right - left, bottom - top)) or 1e-6
        across = 2 * half_width / columns
        across_x, across_y = across * (bottom - top) / length, -across * (right - left) / length
        start_x, start_y = left - across_x * columns / 2, top - across_y * columns / 2
        end_x, end_y = start_x + right - left, start_y + bottom - top
        wide_x, wide_y = across_x * columns, across_y * columns
        xs = (start_x, start_x + wide_x, end_x, end_x + wide_x)
        ys = (start_y, start_y + wide_y, end_y, end_y + wide_y)
        x0, x1 = max(0, int(min(xs)) - 1), min(self.pixels.shape[1], int(max(xs)) + 2)
        y0, y1 = max(0, int(min(ys)) - 1), min(self.pixels.shape[0], int(max(ys)) + 2)
        if x0 >= x1 or y0 >= y1:
            return
        half = 0.5 * (across_x + down_x) - 0.5, 0.5 * (across_y + down_y) - 0.5  # pixel centers
        matrix = np.asarray(
            [[across_x, down_x, start_x + half[0] - x0], [across_y, down_y, start_y + half[1] - y0]]
        )
        warped = cv2.warpAffine(patch, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
        colours, alpha = cv2.cvtColor(warped, cv2.COLOR_BGRA2BGR), warped[..., 3]
        rest = cv2.cvtColor(1 - alpha, cv2.COLOR_GRAY2BGR)
        region = self.pixels[y0:y1, x0:x1]
        region *= rest
        region += colours
        if owner:
            self.owner[y0:y1, x0:x1][alpha > 0.5] = owner
