"""Who walks where and when: the visits of every person to the cameras of a scene."""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

#: Changes whenever the same parameters would give other files.
GENERATOR = 1
RATE = 10  # frames a second

# Random streams that hang off the seed; those of `pedestrians.plan` are below 8, so that scenes show other people.
WALKS, PEOPLE, LOOKS, DETECTOR = 8, 9, 10, 11

NEAR, FAR = 6.6, 13.5  # meters from the camera
HALF_VIEW = 0.64  # half of the view's width, meters per meter of distance
_MARGIN = 1.4  # meters beyond the edge of the view where people appear
_CROSSES, _STOPS, _RETURNS, _ACCOMPANIED = 0.75, 0.2, 0.4, 0.25  # shares


@dataclass(frozen=True)
class SceneSettings:
    """Everything that the files of a scene depend on.

    Attributes:
        cameras: Number of cameras, a sequence each.
        frames: Frames of each camera; 10 per second.
        people: Number of people.
        seed: Seed of it all.
        missed: Share of the fully visible people that the detector misses.
        jitter: Standard deviation of a detection's edges, as a fraction of the box.
        false_boxes: Mean number of detections a frame that show nobody.
    """

    cameras: int = 2
    frames: int = 300
    people: int = 24
    seed: int = 0
    missed: float = 0.06
    jitter: float = 0.03
    false_boxes: float = 0.2

    def __post_init__(self) -> None:
        for name, low, high in (
            ("cameras", 1, 16),
            ("frames", 1, 100_000),
            ("people", 1, 100_000),
            ("seed", 0, 2**32),
            ("missed", 0, 1),
            ("jitter", 0, 0.3),
            ("false_boxes", 0, 20),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be within {low} and {high}, got {value}")

    def described(self) -> dict[str, float]:
        """Return the parameters and the generator's version as plain data."""
        return {"generator": GENERATOR, **asdict(self)}


class Visit(NamedTuple):
    """One walk of a person past a camera.

    Attributes:
        person: Who, from 1.
        camera: Where, from 0.
        start: First frame, from 0; may be negative.
        path: Place on the ground in each frame from there on, (T, 2): meters to the right and away from the camera.
        steps: Phase of the gait in each frame, (T,), in radians; it does not advance while the person stands.
        yaw: Turn of the body in radians, as `body.View` counts.
    """

    person: int
    camera: int
    start: int
    path: np.ndarray
    steps: np.ndarray
    yaw: float


def plan_visits(settings: SceneSettings) -> list[Visit]:
    """Return the visits of all people, as many as fit into the frames; the same settings give the same ones.

    People come from a side of the street, walk straight or across, stop now and then, leave, and come back after a
    while, by the same camera or another. Some walk beside another person all the way.
    """
    visits: list[Visit] = []
    led: list[Visit] = []
    for person in range(1, settings.people + 1):
        rng = np.random.default_rng([settings.seed, WALKS, person])
        if led and rng.random() < _ACCOMPANIED:
            own = [_beside(visit, person, rng) for visit in led]
            led = []
        else:
            own = led = _itinerary(settings, person, rng)
        visits += own
    return visits


def _itinerary(settings: SceneSettings, person: int, rng: np.random.Generator) -> list[Visit]:
    visits = []
    camera = int(rng.integers(settings.cameras))
    # The first come at any time, so that the street is about as full in every frame.
    start = int(rng.integers(-60, max(settings.frames - 60, -59)))
    while start < settings.frames - 5:
        visit = _walk(person, camera, start, rng)
        visits.append(visit)
        start += len(visit.path) + int(rng.integers(15, 70))
        if settings.cameras > 1 and rng.random() >= _RETURNS:
            camera = int((camera + rng.integers(1, settings.cameras)) % settings.cameras)
    return visits


def _walk(person: int, camera: int, start: int, rng: np.random.Generator) -> Visit:
    """Go from a point beside the view to another: mostly across, otherwise along the street's depth as well."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    first, last = 1 / rng.uniform(1 / FAR, 1 / NEAR, 2)  # evenly over the rows of the frame
    if rng.random() < _CROSSES:
        last = float(np.clip(first + rng.normal(0, 0.8), NEAR, FAR))
    ends = np.asarray(
        [[side * (HALF_VIEW * first + _MARGIN), first], [-side * (HALF_VIEW * last + _MARGIN), last]]
    )
    way = ends[1] - ends[0]
    length = float(np.hypot(*way))
    pace = rng.uniform(1.05, 1.55) / RATE  # meters a frame
    count = max(2, int(length / pace))
    speed = np.ones(count)
    if rng.random() < _STOPS:
        at, pause = int(count * rng.uniform(0.25, 0.75)), int(rng.integers(12, 45))
        speed = np.insert(speed, at, np.zeros(pause))
    gone = np.minimum(np.cumsum(speed) / count, 1.0)
    path = ends[0] + gone[:, None] * way
    sway = np.sin(np.linspace(0, rng.uniform(1, 3) * np.pi, len(path)) + rng.uniform(0, 6))
    path[:, 1] = np.clip(path[:, 1] + 0.15 * sway, NEAR, FAR)
    steps = rng.uniform(0, 2 * np.pi) + np.cumsum(speed) * 2 * np.pi * pace / rng.uniform(1.25, 1.5)
    return Visit(person, camera, start, path, steps, float(np.arctan2(way[0], -way[1])))


def _beside(visit: Visit, person: int, rng: np.random.Generator) -> Visit:
    """Walk the same way next to the person, half a meter to a meter away."""
    aside = np.asarray([rng.uniform(-0.35, 0.35), rng.choice([-1, 1]) * rng.uniform(0.35, 0.7)])
    path = visit.path + aside
    path[:, 1] = np.clip(path[:, 1], NEAR - 0.4, FAR + 0.4)
    return visit._replace(person=person, path=path, steps=visit.steps + rng.uniform(0, 2 * np.pi))
