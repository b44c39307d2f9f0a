"""The street in front of a camera: one wide picture that every shot cuts its background from."""

import cv2
import numpy as np

WIDTH, HEIGHT = 1800, 620
HORIZON = 250  # row where the ground begins

Colour = tuple[float, float, float]


def draw_street(rng: np.random.Generator) -> np.ndarray:
    """Return a street, (HEIGHT, WIDTH, 3) float32 RGB in 0..1: walls, greens and glass above the ground.

    A standing person is about 230 rows high in it. It is long and varied on purpose: with one short background
    the colors of a picture would tell the camera before they tell the person.
    """
    street = np.empty((HEIGHT, WIDTH, 3), np.float32)
    _draw_ground(rng, street)
    x = 0
    while x < WIDTH:
        width = int(rng.uniform(110, 340))
        section = street[:HORIZON, x : x + width]
        _SECTIONS[int(rng.choice(len(_SECTIONS), p=_SECTION_SHARES))](rng, section)
        x += width
    for _ in range(int(rng.integers(14, 24))):
        x = int(rng.integers(WIDTH))
        _THINGS[int(rng.choice(len(_THINGS), p=_THING_SHARES))](rng, street, x)
    street *= 1 + 0.10 * _clouds(rng, 60)[..., None] + 0.05 * _clouds(rng, 3)[..., None]
    return np.clip(street, 0, 1)


def draw_bicycle(picture: np.ndarray, x: float, ground: float, size: float, colour: Colour) -> None:
    """Draw a bicycle that stands at column `x`; `size` is the diameter of a wheel in pixels."""
    dark, radius = (0.12, 0.12, 0.13), size / 2
    rear, front = (x - 0.95 * size, ground - radius), (x + 0.95 * size, ground - radius)
    for wheel in (rear, front):
        cv2.circle(picture, _fixed(wheel), round(radius * 16), dark, max(1, round(size / 22)), cv2.LINE_AA, 4)
    seat, bar, crank = (
        (x - 0.45 * size, ground - 1.35 * size),
        (x + 0.7 * size, ground - 1.45 * size),
        (x - 0.1 * size, ground - radius),
    )
    frame = ((rear, crank), (crank, seat), (seat, rear), (crank, bar), (seat, bar), (bar, front))
    for start, end in frame:
        cv2.line(picture, _fixed(start), _fixed(end), colour, max(1, round(size / 16)), cv2.LINE_AA, 4)
    for middle in (seat, bar):
        ends = (middle[0] - 0.2 * size, middle[1]), (middle[0] + 0.2 * size, middle[1])
        cv2.line(picture, _fixed(ends[0]), _fixed(ends[1]), dark, max(1, round(size / 12)), cv2.LINE_AA, 4)


def _fixed(point: tuple[float, float]) -> tuple[int, int]:
    """OpenCV's fixed-point coordinates with four fractional bits."""
    return round(point[0] * 16), round(point[1] * 16)


def _clouds(rng: np.random.Generator, size: float) -> np.ndarray:
    """Smooth noise of the street's shape with unit deviation; `size` in pixels."""
    small = rng.normal(size=(int(HEIGHT / size) + 3, int(WIDTH / size) + 3)).astype(np.float32)
    return cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def _tone(rng: np.random.Generator, low: float, high: float, tint: float = 0.06) -> np.ndarray:
    return (rng.uniform(low, high) * (1 + rng.normal(0, tint, 3))).astype(np.float32)


def _colour(rng: np.random.Generator, low: float = 0.1, high: float = 0.8) -> Colour:
    red, green, blue = (float(x) for x in 0.3 * rng.uniform(low, high, 3) + 0.7 * rng.uniform(low, high))
    return red, green, blue


def _draw_ground(rng: np.random.Generator, street: np.ndarray) -> None:
    """Paving, asphalt and grass that change along the street, with joints running to the distance."""
    ground = street[HORIZON:]
    x = 0
    while x < WIDTH:
        width = int(rng.uniform(250, 700))
        kind = rng.random()
        tone = _tone(rng, 0.42, 0.6, 0.03) if kind < 0.55 else _tone(rng, 0.3, 0.42, 0.02)
        if kind > 0.92:
            tone = np.asarray([0.31, 0.4, 0.24], np.float32) * np.float32(rng.uniform(0.7, 1.2))
        ground[:, x : x + width] = tone
        if kind < 0.55:
            _draw_joints(rng, ground[:, x : x + width], tone)
        x += width
    if rng.random() < 0.7:  # a verge or kerb along the walls
        high = int(rng.uniform(14, 60))
        verge = np.asarray([0.29, 0.37, 0.22], np.float32) if rng.random() < 0.5 else _tone(rng, 0.5, 0.75)
        ground[:high] = verge
        ground[high : high + 5] = verge * 0.6
    if rng.random() < 0.5:  # stripes of a crossing or a lane
        y, high = int(rng.uniform(110, 280)), int(rng.uniform(8, 26))
        for left in range(int(rng.integers(90)), WIDTH, int(rng.uniform(70, 220))):
            ground[y : y + high, left : left + int(rng.uniform(30, 60))] = 0.82
    for _ in range(26):  # shadows of trees and stains
        centre = (int(rng.integers(WIDTH)), int(rng.integers(20, ground.shape[0])))
        axes = (int(rng.uniform(20, 120)), int(rng.uniform(5, 22)))
        shade = np.ones(ground.shape[:2], np.float32)
        cv2.ellipse(shade, centre, axes, 0, 0, 360, float(rng.uniform(0.62, 0.95)), -1, cv2.LINE_AA)
        ground *= shade[..., None]


def _draw_joints(rng: np.random.Generator, ground: np.ndarray, tone: np.ndarray) -> None:
    line = tuple(float(x) for x in tone * rng.uniform(0.72, 0.88))
    rows, columns = ground.shape[:2]
    ground_copy = np.ascontiguousarray(ground)
    y, step = 4.0, rng.uniform(7, 12)
    while y < rows:
        cv2.line(ground_copy, (0, int(y)), (columns, int(y)), line, 1, cv2.LINE_AA)
        y += step
        step *= 1.11
    spread = rng.uniform(30, 60)
    for k in range(-30, 31):
        foot = columns / 2 + k * spread
        cv2.line(
            ground_copy, (int(columns / 2 + k * spread * 0.45), 0), (int(foot), rows), line, 1, cv2.LINE_AA
        )
    ground[:] = ground_copy


def _wall(rng: np.random.Generator, section: np.ndarray) -> None:
    tone = _tone(rng, 0.35, 0.75, 0.05)
    section[:] = tone
    step = int(rng.uniform(9, 20))
    if rng.random() < 0.6:  # bricks or slabs
        section[::step] *= 0.82
        section[:, :: step * 2] *= 0.9
    pitch_x, pitch_y = int(rng.uniform(45, 90)), int(rng.uniform(60, 110))
    glass = _tone(rng, 0.12, 0.35, 0.15)
    for y in range(int(rng.uniform(0, 30)), HORIZON - 60, pitch_y):
        for x in range(int(rng.uniform(5, 30)), section.shape[1], pitch_x):
            section[y : y + pitch_y * 2 // 3, x : x + pitch_x * 3 // 5] = glass
            section[y : y + 3, x : x + pitch_x * 3 // 5] = 0.8


def _entrance(rng: np.random.Generator, section: np.ndarray) -> None:
    section[:] = _tone(rng, 0.05, 0.16, 0.1)
    step = int(rng.uniform(50, 100))
    section[:, ::step] = section[:, 1::step] = section[:, 2::step] = _tone(rng, 0.3, 0.6)
    section[: int(rng.uniform(10, 60))] = _tone(rng, 0.4, 0.7)
    for _ in range(4):  # reflections and lamps
        x, y = int(rng.integers(section.shape[1])), int(rng.integers(HORIZON))
        section[y : y + int(rng.uniform(4, 50)), x : x + int(rng.uniform(4, 30))] += rng.uniform(0.05, 0.3)


def _hedge(rng: np.random.Generator, section: np.ndarray) -> None:
    section[:] = np.asarray([0.19, 0.24, 0.15], np.float32) * np.float32(rng.uniform(0.6, 1.3))
    leaves = np.ascontiguousarray(section)
    for _ in range(section.shape[1] * 2):
        centre = (int(rng.integers(section.shape[1])), int(rng.integers(HORIZON)))
        green = np.asarray([0.24, 0.33, 0.18]) * rng.uniform(0.3, 1.5) * (0.7 + 0.5 * centre[1] / HORIZON)
        cv2.circle(leaves, centre, int(rng.uniform(2, 9)), [float(x) for x in green], -1, cv2.LINE_AA)
    section[:] = leaves


def _lawn(rng: np.random.Generator, section: np.ndarray) -> None:
    _hedge(rng, section)
    edge = int(rng.uniform(70, 150))
    section[edge:] = np.asarray([0.35, 0.45, 0.27], np.float32) * np.float32(rng.uniform(0.8, 1.25))
    if rng.random() < 0.4:
        section[edge : edge + 12] = (0.6, 0.3, 0.25)


def _shutter(rng: np.random.Generator, section: np.ndarray) -> None:
    section[:] = _tone(rng, 0.3, 0.7, 0.08)
    section[:: int(rng.uniform(5, 12))] *= 0.75
    top = int(rng.uniform(25, 80))
    section[:top] = _colour(rng)
    for x in range(0, section.shape[1] - 20, 26):
        section[top // 3 : top * 2 // 3, x : x + int(rng.uniform(5, 20))] = 0.9


def _bicycles(rng: np.random.Generator, street: np.ndarray, x: int) -> None:
    for k in range(int(rng.integers(1, 6))):
        draw_bicycle(street, x + 45 * k, HORIZON + rng.uniform(10, 40), rng.uniform(45, 62), _colour(rng))


def _car(rng: np.random.Generator, street: np.ndarray, x: int) -> None:
    ground, long, high = (
        HORIZON + int(rng.uniform(15, 45)),
        int(rng.uniform(230, 300)),
        int(rng.uniform(38, 52)),
    )
    paint = _colour(rng, 0.1, 0.9) if rng.random() < 0.6 else (0.8, 0.8, 0.82)
    roof = [
        [x + 50, ground - 2 * high],
        [x + long - 70, ground - 2 * high],
        [x + long - 20, ground - high],
        [x + 10, ground - high],
    ]
    cv2.fillPoly(street, [np.asarray(roof, np.int32)], paint, cv2.LINE_AA)
    glass = [
        [x + 58, ground - 2 * high + 7],
        [x + long - 76, ground - 2 * high + 7],
        [x + long - 36, ground - high],
        [x + 26, ground - high],
    ]
    cv2.fillPoly(street, [np.asarray(glass, np.int32)], (0.16, 0.19, 0.22), cv2.LINE_AA)
    cv2.rectangle(street, (x, ground - high), (x + long, ground - 12), paint, -1)
    for wheel in (x + 50, x + long - 55):
        cv2.circle(street, (wheel, ground - 14), 21, (0.08, 0.08, 0.08), -1, cv2.LINE_AA)
        cv2.circle(street, (wheel, ground - 14), 10, (0.55, 0.55, 0.56), -1, cv2.LINE_AA)


def _pole(rng: np.random.Generator, street: np.ndarray, x: int) -> None:
    tone = float(rng.uniform(0.15, 0.7))
    wide = int(rng.uniform(5, 16))
    cv2.rectangle(street, (x, 0), (x + wide, HORIZON + int(rng.uniform(10, 60))), (tone, tone, tone), -1)
    street[: HORIZON + 10, x : x + wide // 3] *= 1.2


def _tree(rng: np.random.Generator, street: np.ndarray, x: int) -> None:
    bark = (0.26, 0.2, 0.15)
    cv2.rectangle(
        street, (x, 0), (x + int(rng.uniform(14, 30)), HORIZON + int(rng.uniform(10, 50))), bark, -1
    )
    for _ in range(60):
        centre = (int(x + rng.normal(10, 55)), int(abs(rng.normal(0, 55))))
        green = np.asarray([0.24, 0.33, 0.18]) * rng.uniform(0.4, 1.4)
        cv2.circle(street, centre, int(rng.uniform(4, 16)), [float(v) for v in green], -1, cv2.LINE_AA)


def _railing(rng: np.random.Generator, street: np.ndarray, x: int) -> None:
    ground, tone = HORIZON + int(rng.uniform(5, 40)), float(rng.uniform(0.3, 0.85))
    for post in range(x, x + int(rng.uniform(120, 320)), 22):
        cv2.line(street, (post, ground - 70), (post, ground), (tone, tone, tone), 3, cv2.LINE_AA)
    for y in (ground - 70, ground - 20):
        cv2.line(street, (x, y), (post, y), (tone, tone, tone), 4, cv2.LINE_AA)


_SECTIONS = (_wall, _entrance, _hedge, _lawn, _shutter)
_SECTION_SHARES = (0.3, 0.2, 0.2, 0.15, 0.15)
_THINGS = (_bicycles, _car, _pole, _tree, _railing)
_THING_SHARES = (0.4, 0.15, 0.15, 0.15, 0.15)
