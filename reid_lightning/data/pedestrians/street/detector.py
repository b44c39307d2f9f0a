"""What a detector makes of a frame of a scene: missed people, inexact boxes, and boxes around nobody."""

from typing import NamedTuple

import numpy as np

from reid_lightning.data.pedestrians.street.plan import DETECTOR, FAR, NEAR, SceneSettings
from reid_lightning.data.pedestrians.street.view import HEIGHT, WIDTH, Sighting, foot_of

_SPELL = 5  # mean frames for which a detector loses a person in sight
_SEEN, _STEEP = 0.35, 14.0  # visibility at which half are found, and how sharply that changes
_OVERLAP = 0.65  # IoU above which two boxes are taken for one, the nearer person's


class Detection(NamedTuple):
    """A box in pixels, x1, y1, x2, y2, and how sure the detector is, 0 to 1."""

    box: tuple[float, float, float, float]
    confidence: float


class Detector:
    """The detector of one camera, frame by frame in their order.

    Args:
        settings: Of the scene.
        camera: Which camera, from 0.
    """

    def __init__(self, settings: SceneSettings, camera: int) -> None:
        self._settings = settings
        self._rng = np.random.default_rng([settings.seed, DETECTOR, camera])
        self._lost: dict[int, int] = {}

    def detect(self, sightings: list[Sighting]) -> list[Detection]:
        """Return the detections of a frame, whose people are given from the farthest to the nearest."""
        found: list[Detection] = []
        for seen in reversed(sightings):
            if self._finds(seen):
                one = self._around(seen)
                if all(overlap(one.box, other.box) <= _OVERLAP for other in found):
                    found.append(one)
        return found + [self._nobody() for _ in range(self._rng.poisson(self._settings.false_boxes))]

    def _finds(self, seen: Sighting) -> bool:
        """Draw whether a person is found; half of those missed in full sight are missed for some frames on end."""
        lost = self._lost.pop(seen.person, 0)
        missed = self._settings.missed / 2
        if lost == 0 and self._rng.random() < missed / _SPELL:
            lost = int(self._rng.integers(1, 2 * _SPELL))
        if lost > 1:
            self._lost[seen.person] = lost - 1
        chance = (1 - missed) / (1 + np.exp(-_STEEP * (seen.visibility - _SEEN)))
        return bool(self._rng.random() < chance) and lost == 0

    def _around(self, seen: Sighting) -> Detection:
        x1, y1, x2, y2 = seen.box
        size = np.asarray([x2 - x1, y2 - y1] * 2) * self._settings.jitter
        edges = np.asarray(seen.box) + self._rng.normal(size=4) * size
        box = (edges[0], edges[1], max(edges[2], edges[0] + 2), max(edges[3], edges[1] + 2))
        sure = 0.3 + 0.6 * seen.visibility + float(self._rng.normal(0, 0.07))
        return Detection(tuple(float(edge) for edge in box), float(np.clip(sure, 0.05, 0.99)))  # type: ignore[arg-type]

    def _nobody(self) -> Detection:
        away = 1 / float(self._rng.uniform(1 / FAR, 1 / NEAR))
        _, foot, scale = foot_of(np.asarray([0.0, away]))
        column, high = float(self._rng.uniform(0, WIDTH)), 1.7 * scale * float(self._rng.uniform(0.8, 1.1))
        foot = min(foot, HEIGHT)
        wide = high * float(self._rng.uniform(0.32, 0.48))
        return Detection(
            (column - wide / 2, foot - high, column + wide / 2, foot), float(self._rng.uniform(0.2, 0.6))
        )


def overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Return the intersection over union of two boxes.

    Examples:
        >>> overlap((0, 0, 2, 2), (1, 0, 3, 2))
        0.3333333333333333
    """
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(wide, 0) * max(high, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
