"""A face on a picture: features on a rounded head, then light and camera."""

import cv2
import numpy as np

from reid_lightning.data.faces.pencil import Pencil, outline, oval
from reid_lightning.data.faces.person import Face, sample_moment

_FINE = 2  # a picture is drawn so many times larger than it is returned


def draw_portrait(face: Face, rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """Take a picture of somebody.

    Args:
        face: Whom.
        rng: Draws pose, expression, light, background, crop and camera.
        size: Height and width in pixels.

    Returns:
        uint8 (size, size, 3), red first.
    """
    moment = sample_moment(rng)
    pencil = Pencil(_background(rng, size * _FINE), face, moment, rng)
    _paint(pencil, _grey(rng))
    return _photograph(pencil.lit(), rng, size)


def _paint(pencil: Pencil, coat: np.ndarray) -> None:
    face = pencil.face
    _back(pencil, coat)
    for side in (-1, 1):  # an ear hides behind the cheek that turns toward it
        shift = 0.96 - 0.12 * max(0.0, side * pencil.moment.yaw)
        pencil.fill(pencil.flat(oval(side * shift, 0.05, face.shape["ears"], 0.2)), face.skin * 0.86)
    pencil.fill(pencil.flat(outline(face)), face.skin)
    _beard(pencil)
    for side in (-1, 1):
        pencil.fill(pencil.front(oval(side * 0.55, 0.28, 0.2, 0.14)), face.skin * (1.0, 0.84, 0.82), 0.22)
        _eye(pencil, side)
    _nose(pencil)
    _mouth(pencil)
    for across, down, radius in face.marks:
        pencil.fill(pencil.front(oval(across, down, radius, radius * 0.75)), face.skin * 0.55, 0.8)
    _hair(pencil)
    _glasses(pencil)


def _back(pencil: Pencil, coat: np.ndarray) -> None:
    """Long hair, then neck and shoulders in clothes that change with the picture."""
    face, style = pencil.face, pencil.face.style[0]
    reach = {"long": 1.7, "bob": 0.8, "curls": 0.35}.get(style)
    wide = face.shape["volume"] + (0.1 if style != "curls" else 0.22)
    if reach is not None:
        hair = [
            (-wide, reach),
            *[(wide * np.cos(a), -1.05 * np.sin(a)) for a in np.linspace(np.pi, 0, 16)],
            (wide, reach),
        ]
        pencil.fill(pencil.flat(hair), face.hair * 0.8)
    if style == "bun":
        pencil.fill(
            pencil.flat(oval(0.25 * np.sign(face.shape["parting"]), -1.18, 0.38, 0.26)), face.hair * 0.85
        )
    neck = 0.5 + 0.2 * (face.style[1] != "none")
    pencil.fill(
        pencil.flat([(-neck, 0.5), (neck, 0.5), (neck * 1.1, 1.6), (-neck * 1.1, 1.6)]), face.skin * 0.78
    )
    pencil.fill(
        pencil.flat([(-0.75, 1.3), (0, 1.5), (0.75, 1.3), (2.2, 1.6), (2.6, 3), (-2.6, 3), (-2.2, 1.6)]),
        coat,
    )


def _eye(pencil: Pencil, side: int) -> None:
    face, moment, shape = pencil.face, pencil.moment, pencil.face.shape
    across, down = side * shape["eye_gap"], shape["eye_height"]
    width, height, tilt = (
        shape["eye_width"],
        shape["eye_open"],
        -side * shape["eye_tilt"] / shape["eye_width"],
    )
    open_ = height * moment.lids
    pencil.fill(pencil.front(oval(across, down, width * 1.3, height * 2.0, tilt)), face.skin * 0.8, 0.45)
    pencil.fill(pencil.front(oval(across, down, width, open_, tilt)), (236, 232, 228))
    if moment.lids > 0.3:
        seen = across + 0.25 * width * moment.gaze
        iris = min(height, width * 0.55)
        lid = np.clip(np.asarray(oval(seen, down, iris * 1.25, iris)), (-9, down - open_), (9, down + open_))
        pencil.fill(pencil.front(lid.tolist()), face.iris)
        pencil.fill(pencil.front(oval(seen, down, iris * 0.55, min(iris * 0.45, open_))), (14, 12, 12))
    upper = [
        point
        for point in oval(across, down, width, open_, tilt)
        if point[1] <= down + tilt * (point[0] - across)
    ]
    pencil.line(pencil.front(sorted(upper)), face.skin * 0.25, 0.02)
    if face.age > 0.45:  # bags below the eyes
        bag = [(across + width * t, down + 1.9 * height - 0.03 * t * t) for t in np.linspace(-0.9, 0.9, 7)]
        pencil.line(pencil.front(bag), face.skin * (1 - 0.4 * face.age), 0.012)
    _brow(pencil, side)


def _brow(pencil: Pencil, side: int) -> None:
    face, shape = pencil.face, pencil.face.shape
    raised = shape["eye_height"] - shape["brow_height"] - 0.03 * pencil.moment.brows
    inner, outer = shape["eye_gap"] - 0.16, shape["eye_gap"] + 0.22
    steps = np.linspace(0, 1, 8)
    arch = [raised - shape["brow_tilt"] * t - 0.05 * np.sin(np.pi * t**1.3) for t in steps]
    place = [side * (inner + (outer - inner) * t) for t in steps]
    thick = [shape["brow_thick"] * (1 - 0.6 * t) for t in steps]
    edge = list(zip(place, arch, strict=True))
    below = [(x, y + t * 1.6) for (x, y), t in zip(edge, thick, strict=True)]
    pencil.fill(pencil.front(edge + below[::-1]), np.minimum(face.hair, face.skin * 0.6) * 0.9, 0.9)


def _nose(pencil: Pencil) -> None:
    face, shape = pencil.face, pencil.face.shape
    top, bottom, half = shape["eye_height"], shape["eye_height"] + shape["nose_length"], shape["nose_width"]
    shade = -np.sign(pencil.moment.light[0] or 1.0)
    ridge = pencil.front([(0.03 * shade, top), (0.05 * shade, bottom - 0.1)], 1.08)
    wing = pencil.front([(0.9 * half * shade, bottom - 0.03), (0.2 * half * shade, bottom)], 1.04)
    pencil.fill(np.concatenate([ridge, wing]), face.skin * 0.72, 0.5)
    pencil.fill(
        pencil.front(oval(0, bottom - 0.06, half * 0.62, 0.08), 1.1), np.minimum(face.skin * 1.06, 255), 0.6
    )
    for side in (-1, 1):
        pencil.fill(
            pencil.front(oval(side * half * 0.78, bottom - 0.04, half * 0.3, 0.055), 1.02),
            face.skin * 0.86,
            0.7,
        )
        pencil.fill(
            pencil.front(oval(side * half * 0.42, bottom, half * 0.24, 0.022), 1.06), face.skin * 0.38
        )
    if face.age > 0.3:
        for side in (-1, 1):
            fold = [(side * (half + 0.06), bottom - 0.04), (side * (half + 0.16), bottom + 0.12)]
            pencil.line(pencil.front(fold), face.skin * (1 - 0.45 * face.age), 0.014)


def _mouth(pencil: Pencil) -> None:
    face, shape, moment = pencil.face, pencil.face.shape, pencil.moment
    half = shape["mouth_width"] * (1 + 0.18 * max(0.0, moment.smile))
    steps = np.linspace(-1, 1, 13)
    middle = shape["mouth_height"] - 0.05 * moment.smile * steps**2
    gap = 0.07 * moment.open * (1 - steps**2)
    bow = shape["lip_upper"] * (1 - np.abs(steps) ** 2.5) * (1 - 0.3 * np.exp(-((steps / 0.16) ** 2)))
    full = shape["lip_lower"] * (1 - steps**2)
    upper, lower = (
        list(zip(half * steps, middle, strict=True)),
        list(zip(half * steps, middle + 2 * gap, strict=True)),
    )
    pencil.fill(pencil.front([*upper, *lower[::-1]]), (70, 26, 28))
    if moment.open > 0.25:
        teeth = list(zip(half * steps * 0.8, middle + 0.9 * gap, strict=True))
        pencil.fill(pencil.front([*upper[1:-1], *teeth[::-1]]), (232, 228, 220))
    pencil.fill(
        pencil.front([*upper, *zip(half * steps[::-1], (middle - bow * 1.3)[::-1], strict=True)]),
        face.lips * 0.92,
    )
    pencil.fill(
        pencil.front([*lower, *zip(half * steps[::-1], (middle + 2 * gap + full * 1.4)[::-1], strict=True)]),
        face.lips,
    )
    pencil.line(pencil.front(upper), face.lips * 0.45, 0.012)


def _beard(pencil: Pencil) -> None:
    face, beard, mouth = pencil.face, pencil.face.style[1], pencil.face.shape["mouth_height"]
    share = 0.25 if beard == "stubble" else 0.88
    drop = 0.12 * pencil.moment.open
    if beard in ("full", "stubble"):
        sides = [
            (0.93, 0.1),
            (0.86, 0.4),
            (0.45, mouth - 0.16),
            (-0.45, mouth - 0.16),
            (-0.86, 0.4),
            (-0.93, 0.1),
        ]
        edge = [(x * (1 + 0.04), y) for x, y in outline(face, bottom=1.0) if y > 0.1]
        right, left = [p for p in edge if p[0] > 0], [p for p in edge if p[0] <= 0]
        grown = [(x, y + (0.05 if beard == "full" else 0)) for x, y in [*right, *left]]
        pencil.fill(np.concatenate([pencil.flat(grown), pencil.front(sides)[::-1]]), face.hair, share)
    if beard in ("moustache", "goatee"):
        lip = [(-0.36, mouth), (-0.2, mouth - 0.1), (0.2, mouth - 0.1), (0.36, mouth), (0.0, mouth - 0.03)]
        pencil.fill(pencil.front(lip), face.hair, share)
    if beard == "goatee":
        pencil.fill(pencil.front(oval(0, mouth + 0.27 + drop, 0.26, 0.17)), face.hair, share)


def _hair(pencil: Pencil) -> None:
    face, shape, style = pencil.face, pencil.face.shape, pencil.face.style[0]
    if style == "bald":
        return
    volume = shape["volume"] + (0.14 if style == "curls" else 0.0)
    sides = {
        "short": -0.1,
        "side": -0.05,
        "fringe": 0.15,
        "long": 0.75,
        "bob": 0.62,
        "curls": 0.2,
        "bun": -0.1,
    }[style]
    angles = np.linspace(0, np.pi, 22)
    bumps = 1 + (0.035 * np.sin(angles * 22) if style == "curls" else 0)
    arc = [
        (volume * np.cos(a) * b, -volume * 0.98 * np.sin(a) * b)
        for a, b in zip(angles, bumps * np.ones(22), strict=True)
    ]
    line = shape["hairline"] + (0.28 if style == "fringe" else 0.0)
    across = np.linspace(-0.95, 0.95, 15)
    wave = {
        "side": 0.22 * (across - shape["parting"]) * np.sign(shape["parting"] or 1),
        "fringe": 0.03 * np.cos(across * 30),
    }
    down = (
        line
        + 0.38 * np.abs(across) ** 4
        + wave.get(style, 0.0)
        - (0.1 * np.cos(across * 3) if style == "short" else 0)
    )
    front = pencil.front(list(zip(across, down, strict=True)))
    right = pencil.flat([(volume, sides), (0.9, sides)])
    left = pencil.flat([(-0.9, sides), (-volume, sides)])
    shape_ = np.concatenate([pencil.flat(arc)[::-1], right, front[::-1], left])
    pencil.fill(shape_, face.hair)
    for k in range(7):  # strands
        start, grow = -0.7 + 0.23 * k, 0.93 + 0.02 * (k % 3)
        strand = [
            (start * (0.6 + 0.4 * t), -volume * grow * (1 - t) + (line - 0.02) * t)
            for t in np.linspace(0, 0.9, 5)
        ]
        pencil.line(pencil.flat(strand), face.hair * (0.8 if k % 2 else 1.18), 0.012)


def _glasses(pencil: Pencil) -> None:
    face, shape, style = pencil.face, pencil.face.shape, pencil.face.style[2]
    if style == "none" or not pencil.moment.glasses:
        return
    down = shape["eye_height"] + 0.03
    for side in (-1, 1):
        across = side * shape["eye_gap"]
        rim = oval(across, down, 0.27, 0.17)
        if style == "square":
            rim = [(across + 0.28 * x, down + 0.14 * y) for x, y in ((-1, -1), (1, -1), (0.9, 1), (-0.9, 1))]
        pencil.fill(pencil.front(rim, 1.04), (225, 232, 238), 0.12)
        pencil.line(pencil.front(rim, 1.04), face.frame, 0.03, closed=True)
        pencil.line(
            pencil.front([(across + side * 0.27, down - 0.05), (side * 1.0, down - 0.06)]), face.frame, 0.025
        )
    gap = shape["eye_gap"] - 0.27
    pencil.line(pencil.front([(-gap, down - 0.04), (gap, down - 0.04)], 1.08), face.frame, 0.03)


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Blurred shapes, their colors about alike."""
    coarse = size // 4
    small = rng.uniform(40, 220) + rng.normal(0, 22, 3) + rng.normal(0, 18, (5, 5, 3))
    picture = cv2.resize(
        np.clip(small, 0, 255).astype(np.uint8), (coarse, coarse), interpolation=cv2.INTER_CUBIC
    )
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.integers(-coarse // 4, coarse, 2).tolist()
        wide, high = rng.integers(coarse // 8, coarse, 2).tolist()
        cv2.rectangle(picture, (x, y), (x + wide, y + high), _grey(rng).tolist(), -1)
    picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.6, 2.5)))
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)


def _grey(rng: np.random.Generator) -> np.ndarray:
    """A color of walls and clothes: seldom strong."""
    return np.clip(rng.uniform(15, 235) + rng.normal(0, 28, 3), 0, 255)


def _photograph(picture: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """Resolution, color cast, exposure and noise of a camera."""
    seen = int(size * rng.uniform(0.35, 1.0))
    picture = cv2.resize(cv2.GaussianBlur(picture, (0, 0), 1.2), (seen, seen), interpolation=cv2.INTER_AREA)
    cast = rng.normal(1, 0.06, 3) * rng.uniform(0.7, 1.25) / 255
    picture = 255 * np.clip(picture * cast, 0, 1) ** rng.uniform(0.8, 1.25)
    picture += rng.normal(0, rng.uniform(1, 7), picture.shape)
    picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
