"""One picture: a person in a camera's street, with passers-by, shadow, things in front and a box around."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from reid_lightning.data.pedestrians.body import View, sample_pose
from reid_lightning.data.pedestrians.brush import OCCLUDER, Brush
from reid_lightning.data.pedestrians.camera import IMAGE_HEIGHT, IMAGE_WIDTH, SUPERSAMPLING, Camera, develop
from reid_lightning.data.pedestrians.canvas import Canvas, Light
from reid_lightning.data.pedestrians.clothes import Outfit, dress
from reid_lightning.data.pedestrians.figure import draw_person
from reid_lightning.data.pedestrians.person import Person, sample_person
from reid_lightning.data.pedestrians.scene import HORIZON, draw_bicycle

_COLUMNS, _ROWS = IMAGE_WIDTH * SUPERSAMPLING, IMAGE_HEIGHT * SUPERSAMPLING
_STRANGERS = 40


@dataclass(frozen=True)
class Box:
    """How well the box fits; all in fractions of its size.

    Attributes:
        misalignment: Standard deviation of its shift and of its relative size.
        occlusion: Probability that something stands in front of the person.
    """

    misalignment: float
    occlusion: float


class Studio:
    """The cameras of a set and the strangers that pass by; made once a process.

    Args:
        seed: Seed of the set.
        cameras: The cameras.
    """

    def __init__(self, seed: int, cameras: Sequence[Camera]) -> None:
        self.cameras = list(cameras)
        self.strangers = [_sprite(np.random.default_rng([seed, 3, k])) for k in range(_STRANGERS)]

    def photograph(
        self,
        camera_index: int,
        person: Person | None,
        outfit: Outfit | None,
        box: Box,
        rng: np.random.Generator,
    ) -> tuple[bytes, np.ndarray]:
        """Take one picture.

        Args:
            camera_index: Which camera, from 0.
            person: Who stands in the box; None for a box around the street alone.
            outfit: The person's clothes.
            box: Fit of the box.
            rng: Draws everything that differs from shot to shot.

        Returns:
            The JPEG's bytes, and (17, 3) float32 key points: column and row in the image's pixels, and 2 in
            sight, 1 hidden, 0 outside the image (all 0 without a person).
        """
        camera = self.cameras[camera_index]
        view = _frame(camera, person, box, rng)
        canvas = Canvas(self._background(camera, view, rng))
        light = Light(camera.light.side + float(rng.normal(0, 0.3)), camera.light.ambient)
        points = np.zeros((17, 3), np.float32)
        brush = None
        if person is not None and outfit is not None:
            pose = sample_pose(rng, person)
            _shadow(canvas, view, light)
            brush = Brush(canvas, person, outfit, pose, view, light, int(rng.integers(1000)))
            draw_person(brush)
        if rng.random() < box.occlusion:
            self._obstruct(canvas, view, rng)
        if brush is not None:
            points = brush.keypoints()
            points[:, :2] /= SUPERSAMPLING
        return develop(camera, canvas.pixels, rng), points

    def _background(self, camera: Camera, view: View, rng: np.random.Generator) -> np.ndarray:
        """Cut a piece of the street so that its ground meets the person's feet, and add people behind."""
        street = camera.street
        zoom = float(rng.uniform(0.65, 1.25))
        ground = HORIZON + float(rng.uniform(25, 300)) / zoom
        left = float(rng.uniform(0, street.shape[1] - _COLUMNS / zoom))
        mirrored = -1.0 if rng.random() < 0.5 else 1.0
        shift = left if mirrored > 0 else left + _COLUMNS / zoom
        matrix = np.asarray([[mirrored / zoom, 0, shift], [0, 1 / zoom, ground - view.y / zoom]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        pixels = cv2.warpAffine(street, matrix, (_COLUMNS, _ROWS), flags=flags, borderMode=cv2.BORDER_REFLECT)
        canvas = Canvas(pixels)
        for _ in range(int(rng.choice(4, p=[0.45, 0.3, 0.17, 0.08]))):
            nearness = float(rng.uniform(0.3, 0.85))
            foot = view.y - (1 - nearness) * float(rng.uniform(40, 170))
            self._passer(canvas, float(rng.uniform(-0.1, 1.1)) * _COLUMNS, foot, view.scale * nearness, rng)
        return cv2.blur(canvas.pixels, (3, 3))

    def _passer(
        self, canvas: Canvas, x: float, foot: float, scale: float, rng: np.random.Generator, owner: int = 0
    ) -> None:
        sprite = self.strangers[int(rng.integers(len(self.strangers)))]
        height = scale * sprite.shape[0] / 112
        half = height * sprite.shape[1] / sprite.shape[0] / 2
        canvas.stamp(sprite, (x, foot - height * 0.96, x, foot + height * 0.04), half, owner)

    def _obstruct(self, canvas: Canvas, view: View, rng: np.random.Generator) -> None:
        """Put a person, a pole, a bicycle or a wall's edge in front."""
        kind = rng.random()
        side = -1 if rng.random() < 0.5 else 1
        if kind < 0.4:
            x = view.x + side * float(rng.uniform(0.28, 0.55)) * _COLUMNS
            near = float(rng.uniform(1.0, 1.3))
            self._passer(canvas, x, view.y + near * 18, view.scale * near, rng, OCCLUDER)
            return
        before = canvas.pixels.copy()
        tone = float(rng.uniform(0.08, 0.75))
        colour = (tone, tone * float(rng.uniform(0.85, 1.1)), tone * float(rng.uniform(0.8, 1.15)))
        if kind < 0.65:
            x, size = (
                view.x + float(rng.uniform(-0.5, 0.5)) * _COLUMNS,
                view.scale * float(rng.uniform(0.24, 0.34)),
            )
            draw_bicycle(canvas.pixels, x, view.y + 6, size, colour)
        elif kind < 0.85:
            x = int(view.x + float(rng.uniform(-0.4, 0.4)) * _COLUMNS)
            cv2.rectangle(canvas.pixels, (x, 0), (x + int(rng.uniform(5, 18)), _ROWS), colour, -1)
        else:
            top = int(_ROWS * rng.uniform(0.62, 0.85))
            cv2.rectangle(canvas.pixels, (0, top), (_COLUMNS, _ROWS), colour, -1)
            cv2.line(canvas.pixels, (0, top), (_COLUMNS, top), (0.7, 0.7, 0.7), 2, cv2.LINE_AA)
        canvas.owner[np.any(canvas.pixels != before, axis=2)] = OCCLUDER


def _frame(camera: Camera, person: Person | None, box: Box, rng: np.random.Generator) -> View:
    """Draw the direction of walking and fit the box: a detector's boxes are tight, but not exact."""
    mixed = rng.random() < 0.45
    yaw = (
        rng.uniform(0, 2 * np.pi)
        if mixed
        else camera.yaw + np.pi * (rng.random() < 0.3) + rng.normal(0, 0.35)
    )
    stature = 1.0 if person is None else person.stature
    shift_x, shift_y, size = rng.normal(0, box.misalignment, 3)
    scale = 0.96 * _ROWS * (1 + size) * (1 + 0.25 * (stature - 1))
    return View(
        yaw=float(yaw),
        pitch=camera.pitch,
        scale=float(scale),
        x=_COLUMNS * float(0.5 + shift_x),
        y=float(_ROWS * (0.5 + shift_y) + 0.482 * scale),
        squeeze=float(rng.uniform(1.08, 1.36)),
    )


def _shadow(canvas: Canvas, view: View, light: Light) -> None:
    """Darken the ground at the feet, away from the light."""
    patch = np.zeros((*_SHADE.shape, 4), np.float32)
    patch[..., 3] = _SHADE * (0.75 - 0.5 * light.ambient)
    reach = 0.16 * view.scale * float(np.sin(-light.side))
    half = 0.2 * view.scale
    high = view.scale * (0.05 + 0.25 * view.pitch)
    canvas.stamp(patch, (view.x + reach, view.y - high, view.x + reach, view.y + 0.5 * high), half)


def _sprite(rng: np.random.Generator) -> np.ndarray:
    """Paint a stranger on nothing: (rows, columns, 4), RGB times alpha and alpha, 112 rows a body height."""
    person = sample_person(rng)
    view = View(float(rng.uniform(0, 2 * np.pi)), 0.15, 224.0, 90.0, 240.0)
    pose, outfit = sample_pose(rng, person), dress(person)
    layers = []
    for backdrop in (0.0, 1.0):
        canvas = Canvas(np.full((250, 180, 3), backdrop, np.float32))
        draw_person(Brush(canvas, person, outfit, pose, view, Light(0.5, 0.55), 3))
        layers.append(cv2.resize(canvas.pixels, (90, 125), interpolation=cv2.INTER_AREA))
    alpha = 1 - (layers[1] - layers[0]).mean(axis=2, keepdims=True)
    return np.concatenate([layers[0], np.clip(alpha, 0, 1)], axis=2).astype(np.float32)


def _radial(size: int) -> np.ndarray:
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    return np.clip(1 - np.hypot(axis[:, None], axis[None, :]), 0, 1).astype(np.float32) ** 0.8


_SHADE = _radial(24)
