"""A camera: the street it sees, how it sees people, and what it does to light and detail."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from reid_lightning.data.pedestrians.canvas import Light
from reid_lightning.data.pedestrians.scene import draw_street

IMAGE_WIDTH, IMAGE_HEIGHT = 64, 128
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Camera:
    """What is the same in all shots of one camera.

    Attributes:
        street: Background, float32 RGB in 0..1.
        yaw: Most frequent direction in which people walk by, in radians.
        pitch: Angle in radians by which it looks down.
        gains: Red, green and blue relative to neutral.
        gamma: Exponent of its tone curve.
        haze: Added to black, and taken from the contrast.
        saturation: 0 is gray, 1 leaves colors alone.
        sharpness: Share of the picture's resolution that survives.
        noise: Standard deviation of its grain in 0..1.
        light: Light in front of it.
        quality: JPEG quality.
    """

    street: np.ndarray
    yaw: float
    pitch: float
    gains: np.ndarray
    gamma: float
    haze: float
    saturation: float
    sharpness: float
    noise: float
    light: Light
    quality: int


def make_camera(seed: int, index: int, cameras: int) -> Camera:
    """Make one of `cameras` cameras.

    The casts are spread round the color circle and the other traits over their ranges, so that a set of any
    seed is about as hard as another.
    """
    shared = np.random.default_rng([seed, 1])
    ranks = np.stack([shared.permutation(cameras) for _ in range(7)])[:, index]
    spread = (ranks + 0.5) / cameras
    cast, bright, dull, blurred, steep, side, hazy = (float(x) for x in spread)
    angle = 2 * np.pi * (cast + float(shared.random()))
    gains = 1 + 0.018 * np.cos(angle - np.asarray([0, 2, 4]) * np.pi / 3)
    rng = np.random.default_rng([seed, 2, index])
    return Camera(
        street=draw_street(rng),
        yaw=2 * np.pi * side + float(rng.normal(0, 0.2)),
        pitch=0.08 + 0.2 * steep,
        gains=gains.astype(np.float32),
        gamma=0.92 + 0.18 * bright,
        haze=0.035 * hazy,
        saturation=0.86 + 0.22 * dull,
        sharpness=0.45 + 0.5 * blurred,
        noise=0.008 + 0.014 * float(rng.random()),
        light=Light(side=float(rng.uniform(-1.2, 1.2)), ambient=float(rng.uniform(0.4, 0.7))),
        quality=int(rng.integers(78, 95)),
    )


@cache
def _grain() -> np.ndarray:
    """Film to cut each shot's grain from: drawing it again would take a tenth of the time of a shot."""
    return np.random.default_rng(21).standard_normal(1_000_003, dtype=np.float32)


def develop(camera: Camera, pixels: np.ndarray, rng: np.random.Generator) -> bytes:
    """Turn light into the camera's file.

    Args:
        camera: Whose cast, tone curve, resolution, grain and compression apply.
        pixels: (rows, columns, 3) float32 RGB at `SUPERSAMPLING` times the image's size.
        rng: Draws the shot's exposure, focus and grain.

    Returns:
        The bytes of a JPEG of 64 x 128 pixels.
    """
    share = camera.sharpness * float(rng.uniform(0.75, 1.0))
    small = (max(8, round(IMAGE_WIDTH * share)), max(16, round(IMAGE_HEIGHT * share)))
    picture = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.25:  # the person moved
        picture = cv2.blur(picture, (int(rng.integers(2, 4)), 1))
    exposure = float(np.exp(rng.normal(0, 0.1)))
    gains = camera.gains * np.exp(rng.normal(0, 0.02, 3)).astype(np.float32)
    gray = picture @ np.asarray([0.3, 0.59, 0.11], np.float32)
    saturation = np.float32(camera.saturation * rng.uniform(0.88, 1.12))
    picture = gray[..., None] + saturation * (picture - gray[..., None])
    picture = np.clip(picture * (gains * np.float32(exposure)), 0, 1.4).astype(np.float32)
    picture = camera.haze + (1 - camera.haze) * cv2.pow(picture, camera.gamma)
    full: np.ndarray = cv2.resize(picture, (IMAGE_WIDTH, IMAGE_HEIGHT), interpolation=cv2.INTER_LINEAR)
    start = int(rng.integers(_grain().size - full.size))
    full += _grain()[start : start + full.size].reshape(full.shape) * np.float32(camera.noise)
    coded = (np.clip(full, 0, 1) * 255 + 0.5).astype(np.uint8)[..., ::-1]
    return cv2.imencode(".jpg", coded, [cv2.IMWRITE_JPEG_QUALITY, camera.quality])[1].tobytes()
