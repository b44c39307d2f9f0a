"""What a fixed camera of a scene sees: the street, things that stand in it, and people at their places."""

from dataclasses import dataclass

import cv2
import numpy as np

from reid_lightning.data.pedestrians.body import Pose, View
from reid_lightning.data.pedestrians.brush import Brush
from reid_lightning.data.pedestrians.camera import Camera, make_camera
from reid_lightning.data.pedestrians.canvas import Canvas, Light
from reid_lightning.data.pedestrians.clothes import Outfit, dress
from reid_lightning.data.pedestrians.figure import draw_person
from reid_lightning.data.pedestrians.person import Person, sample_person
from reid_lightning.data.pedestrians.scene import HORIZON
from reid_lightning.data.pedestrians.street.plan import LOOKS, PEOPLE, SceneSettings, Visit
from reid_lightning.data.pedestrians.street.things import Thing, make_things

WIDTH, HEIGHT = 640, 360
FOCAL = 500.0  # pixels
EYE = 3.1  # meters of the camera above the ground
VANISHING = 84.0  # row of the horizon
_WALL = 168.0  # row where the walls behind the street stand on the ground
_PHASES = 12  # pictures of a walking person
_DRAWN = 190.0  # pixels a body height of these
_MIDDLE, _GROUND, _ROWS, _COLUMNS = 100.0, 212.0, 224, 200  # of these


def foot_of(place: np.ndarray) -> tuple[float, float, float]:
    """Return column and row of a place on the ground (meters right, meters away), and pixels a meter there."""
    scale = FOCAL / float(place[1])
    return WIDTH / 2 + scale * float(place[0]), VANISHING + scale * EYE, scale


@dataclass
class Sprite:
    """A picture of a person, RGB times alpha and alpha, and where in it the middle of the feet is."""

    pixels: np.ndarray
    column: float
    row: float
    shadow: np.ndarray


@dataclass
class Sighting:
    """A person in a frame: the box around all of the body in pixels, clipped or not, and the share in sight."""

    person: int
    box: tuple[float, float, float, float]
    visibility: float


class Wardrobe:
    """The people of a scene, dressed when they are first needed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._people: dict[int, tuple[Person, Outfit]] = {}

    def __getitem__(self, number: int) -> tuple[Person, Outfit]:
        if number not in self._people:
            person = sample_person(np.random.default_rng([self._seed, PEOPLE, number]))
            self._people[number] = person, dress(person)
        return self._people[number]


class StreetCamera:
    """A camera that does not move.

    Args:
        settings: Of the scene.
        index: Which camera, from 0.
        wardrobe: The people.
    """

    def __init__(self, settings: SceneSettings, index: int, wardrobe: Wardrobe) -> None:
        self._rng = np.random.default_rng([settings.seed, LOOKS, index])
        self._camera = make_camera(settings.seed, index, max(settings.cameras, 2))
        self._wardrobe = wardrobe
        self._street = _street(self._camera, self._rng)
        self._things = make_things(self._rng, foot_of)
        self._sprites: dict[tuple[int, int, int], Sprite] = {}
        self._grain = self._rng.standard_normal((HEIGHT * 2, WIDTH * 2, 3), dtype=np.float32)

    def film(self, frame: int, visits: list[Visit]) -> tuple[np.ndarray, list[Sighting]]:
        """Return a frame, (360, 640, 3) uint8 BGR, and who is in it.

        Args:
            frame: Number of the frame, from 0.
            visits: All visits to this camera; those of other times are left out.
        """
        here = [visit for visit in visits if 0 <= frame - visit.start < len(visit.path)]
        layers: list[tuple[float, Visit | Thing]] = [
            (float(visit.path[frame - visit.start, 1]), visit) for visit in here
        ]
        layers += [(thing.away, thing) for thing in self._things]
        layers.sort(key=lambda layer: -layer[0])
        pixels, owner = self._street.copy(), np.zeros((HEIGHT, WIDTH), np.int32)
        found: list[tuple[Visit, tuple[float, float, float, float], int]] = []
        for _, layer in layers:
            if isinstance(layer, Thing):
                _lay(pixels, owner, layer.pixels, layer.left, layer.top, -1)
                continue
            box, area = self._place(pixels, owner, layer, frame - layer.start, len(found) + 1)
            found.append((layer, box, area))
        seen = np.bincount(owner[owner > 0], minlength=len(found) + 1)
        sightings = [
            Sighting(visit.person, box, float(min(seen[k] / max(area, 1), 1.0)))
            for k, (visit, box, area) in enumerate(found, start=1)
        ]
        return self._expose(pixels), [one for one in sightings if _is_inside(one.box)]

    def _place(
        self, pixels: np.ndarray, owner: np.ndarray, visit: Visit, moment: int, number: int
    ) -> tuple[tuple[float, float, float, float], int]:
        """Paint a person; return the box around the body and its pixels, those outside of the frame included."""
        column, row, scale = foot_of(visit.path[moment])
        sprite = self._sprite(visit, float(visit.steps[moment]))
        height = self._wardrobe[visit.person][0].height / 100 * scale
        share = height / _DRAWN
        size = max(1, round(sprite.pixels.shape[1] * share)), max(1, round(sprite.pixels.shape[0] * share))
        body = cv2.resize(sprite.pixels, size, interpolation=cv2.INTER_AREA)
        left, top = round(column - sprite.column * share), round(row - sprite.row * share)
        wide = (round(0.62 * height), max(2, round(0.13 * height)))
        shadow = cv2.resize(sprite.shadow, wide, interpolation=cv2.INTER_LINEAR)
        reach = 0.12 * height * float(np.sin(-self._camera.light.side))
        _lay(pixels, owner, shadow, round(column - wide[0] / 2 + reach), round(row - wide[1] / 2), 0)
        _lay(pixels, owner, body, left, top, number)
        solid = body[..., 3] > 0.5
        ys, xs = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
        if not len(ys):
            return (left, top, left + size[0], top + size[1]), 0
        box = (left + int(xs[0]), top + int(ys[0]), left + int(xs[-1]) + 1, top + int(ys[-1]) + 1)
        return box, int(solid.sum())

    def _sprite(self, visit: Visit, step: float) -> Sprite:
        """Return the person as this visit shows them, in the nearest of some phases of the gait."""
        phase = round(step / (2 * np.pi) * _PHASES) % _PHASES
        key = (visit.person, visit.start, phase)
        if key not in self._sprites:
            rng = np.random.default_rng([visit.person, visit.start + 10_000])
            self._sprites[key] = _paint(
                *self._wardrobe[visit.person], visit, phase * 2 * np.pi / _PHASES, self._camera.light, rng
            )
        return self._sprites[key]

    def forget(self, visit: Visit) -> None:
        """Free the pictures of a visit that is over."""
        for phase in range(_PHASES):
            self._sprites.pop((visit.person, visit.start, phase), None)

    def _expose(self, pixels: np.ndarray) -> np.ndarray:
        """Turn light into what the camera records: its cast, saturation, tone curve and grain."""
        camera = self._camera
        gray = pixels @ np.asarray([0.3, 0.59, 0.11], np.float32)
        pixels = gray[..., None] + np.float32(camera.saturation) * (pixels - gray[..., None])
        pixels = np.clip(pixels * camera.gains, 0, 1.4).astype(np.float32)
        pixels = camera.haze + (1 - camera.haze) * cv2.pow(pixels, camera.gamma)
        y, x = int(self._rng.integers(HEIGHT)), int(self._rng.integers(WIDTH))
        pixels = pixels + self._grain[y : y + HEIGHT, x : x + WIDTH] * np.float32(camera.noise)
        return (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)[..., ::-1]


def _street(camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Cut the camera's view out of its street: walls above, ground below, (360, 640, 3) float32 RGB."""
    street = camera.street
    zoom = max(_WALL / HORIZON, (HEIGHT - _WALL) / (street.shape[0] - HORIZON)) * 1.02
    left = float(rng.uniform(0, street.shape[1] - WIDTH / zoom))
    matrix = np.asarray([[1 / zoom, 0, left], [0, 1 / zoom, HORIZON - _WALL / zoom]])
    flags = cv2.INTER_AREA | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        cv2.blur(street, (2, 2)), matrix, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REFLECT
    )


def _paint(
    person: Person, outfit: Outfit, visit: Visit, phase: float, light: Light, rng: np.random.Generator
) -> Sprite:
    """Paint a person on nothing; `rng` draws what stays the same during a visit."""
    elbows = (float(rng.uniform(0.1, 0.5)), float(rng.uniform(0.1, 0.5)))
    pose = Pose(
        phase=phase,
        stride=person.stride * float(rng.uniform(0.8, 1.1)),
        spread=float(rng.uniform(0.06, 0.18)),
        elbows=elbows,
        lean=float(rng.normal(0.03, 0.02)),
        turn=float(np.clip(rng.normal(0, 0.2), -0.5, 0.5)),
    )
    pitch = float(np.arctan2(EYE, visit.path[:, 1].mean()))
    view = View(visit.yaw, pitch, _DRAWN, _MIDDLE, _GROUND)
    fold, layers = int(rng.integers(1000)), []
    for backdrop in (0.0, 1.0):
        canvas = Canvas(np.full((_ROWS, _COLUMNS, 3), backdrop, np.float32))
        draw_person(Brush(canvas, person, outfit, pose, view, light, fold))
        layers.append(canvas.pixels)
    alpha = np.clip(1 - (layers[1] - layers[0]).mean(axis=2, keepdims=True), 0, 1)
    used = np.flatnonzero((alpha[..., 0] > 0.02).any(axis=0))
    left, right = max(int(used[0]) - 1, 0), int(used[-1]) + 2
    pixels = np.concatenate([layers[0], alpha], axis=2).astype(np.float32)[:, left:right]
    return Sprite(np.ascontiguousarray(pixels), _MIDDLE - left, _GROUND, _shade(0.75 - 0.5 * light.ambient))


def _shade(strength: float) -> np.ndarray:
    """A soft dark oval, (24, 24, 4)."""
    axis = (np.arange(24) + 0.5) / 12 - 1
    patch = np.zeros((24, 24, 4), np.float32)
    patch[..., 3] = strength * np.clip(1 - np.hypot(axis[:, None], axis[None, :]), 0, 1) ** 0.8
    return patch


def _lay(pixels: np.ndarray, owner: np.ndarray, patch: np.ndarray, left: int, top: int, number: int) -> None:
    """Lay a patch (rows, columns, RGB times alpha and alpha) over a picture; 0 does not own what it covers."""
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + patch.shape[0], HEIGHT), min(left + patch.shape[1], WIDTH)
    if y0 >= y1 or x0 >= x1:
        return
    part = patch[y0 - top : y1 - top, x0 - left : x1 - left]
    region = pixels[y0:y1, x0:x1]
    region *= 1 - part[..., 3:]
    region += part[..., :3]
    if number:
        owner[y0:y1, x0:x1][part[..., 3] > 0.5] = number


def _is_inside(box: tuple[float, float, float, float]) -> bool:
    """Tell whether a quarter of a box lies in the frame: what is less is not annotated."""
    wide = min(box[2], WIDTH) - max(box[0], 0)
    high = min(box[3], HEIGHT) - max(box[1], 0)
    return wide > 0 and high > 0 and wide * high >= 0.25 * (box[2] - box[0]) * (box[3] - box[1])
