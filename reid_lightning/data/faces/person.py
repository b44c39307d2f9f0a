"""What makes a drawn face somebody's, and what changes from one picture to the next."""

from dataclasses import dataclass

import numpy as np

_SKINS = ((255, 224, 200), (240, 200, 168), (224, 176, 138), (198, 146, 106), (156, 106, 72), (110, 74, 52))
_HAIRS = (
    (28, 24, 24),
    (48, 34, 26),
    (84, 56, 36),
    (130, 88, 50),
    (196, 156, 96),
    (150, 66, 36),
    (170, 168, 166),
)
_IRISES = ((70, 44, 26), (96, 64, 36), (88, 104, 64), (74, 108, 140), (110, 124, 130))
HAIR_STYLES = ("bald", "short", "side", "fringe", "long", "bob", "curls", "bun")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
GLASSES = ("none", "round", "square")


@dataclass(frozen=True)
class Face:
    """One person's features; lengths are shares of the half width or half height of the head.

    Attributes:
        skin: Red, green, blue, 0 to 255; as `hair`, `iris`, `lips` and `frame`.
        shape: `width` (of the head / its height), `jaw`, `chin`, `ears`, `eye_gap`, `eye_height`, `eye_width`,
            `eye_open`, `eye_tilt`, `brow_height`, `brow_thick`, `brow_tilt`, `nose_length`, `nose_width`,
            `mouth_height`, `mouth_width`, `lip_upper`, `lip_lower`, `hairline`, `volume`, `parting`.
        style: Hair style, beard and glasses.
        marks: (N, 3) moles and freckles: place across, place down, radius.
        age: 0 to 1; draws wrinkles.
    """

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    lips: np.ndarray
    frame: np.ndarray
    shape: dict[str, float]
    style: tuple[str, str, str]
    marks: np.ndarray
    age: float


# Smallest and largest, mostly near the middle.
_SHAPE = {
    "width": (0.66, 0.84),
    "jaw": (0.55, 0.92),
    "chin": (0.18, 0.42),
    "ears": (0.10, 0.20),
    "eye_gap": (0.33, 0.47),
    "eye_height": (-0.14, 0.02),
    "eye_width": (0.13, 0.20),
    "eye_open": (0.045, 0.085),
    "eye_tilt": (-0.03, 0.04),
    "brow_height": (0.13, 0.22),
    "brow_thick": (0.02, 0.06),
    "brow_tilt": (-0.05, 0.06),
    "nose_length": (0.30, 0.46),
    "nose_width": (0.13, 0.26),
    "mouth_height": (0.50, 0.62),
    "mouth_width": (0.24, 0.40),
    "lip_upper": (0.02, 0.055),
    "lip_lower": (0.03, 0.07),
    "hairline": (-0.72, -0.48),
    "volume": (1.05, 1.22),
    "parting": (-0.5, 0.5),
}


def sample_face(rng: np.random.Generator) -> Face:
    """Draw a person; many share skin, hair and style, so that the features must tell them apart."""
    woman = rng.random() < 0.5
    skin = _mixed(_SKINS, rng)
    age = float(rng.beta(1.5, 2.5))
    hair = np.asarray(_HAIRS[rng.choice(7, p=(0.26, 0.24, 0.2, 0.1, 0.1, 0.04, 0.06))], float)
    hair = np.clip(hair * rng.uniform(0.8, 1.2) + rng.normal(0, 5, 3), 8, 235)
    styles = (
        (0.02, 0.06, 0.12, 0.2, 0.26, 0.16, 0.1, 0.08)
        if woman
        else (0.14, 0.36, 0.24, 0.12, 0.03, 0.02, 0.09, 0)
    )
    beard = "none" if woman else BEARDS[rng.choice(5, p=(0.45, 0.2, 0.1, 0.1, 0.15))]
    style = (HAIR_STYLES[rng.choice(8, p=styles)], beard, GLASSES[rng.choice(3, p=(0.7, 0.14, 0.16))])
    red = np.array([1.0, 0.62, 0.62]) if woman and rng.random() < 0.4 else np.array([0.88, 0.68, 0.66])
    marks = rng.uniform((-0.75, -0.45, 0.008), (0.75, 0.85, 0.022), (int(rng.poisson(1.2)), 3))
    if rng.random() < 0.1:
        freckles = rng.uniform((-0.6, -0.05, 0.005), (0.6, 0.35, 0.01), (30, 3))
        marks = np.concatenate([marks, freckles])
    shape = {name: float(low + (high - low) * rng.beta(2, 2)) for name, (low, high) in _SHAPE.items()}
    return Face(
        skin=skin,
        hair=hair,
        iris=np.asarray(_IRISES[rng.choice(5, p=(0.4, 0.25, 0.12, 0.15, 0.08))], float),
        lips=np.clip(skin * red * rng.uniform(0.85, 1.05), 0, 255),
        frame=np.asarray(
            [(20, 20, 22), (90, 60, 40), (120, 30, 30), (150, 150, 155)][rng.integers(4)], float
        ),
        shape=shape,
        style=style,
        marks=marks,
        age=age,
    )


def _mixed(colours: tuple[tuple[int, int, int], ...], rng: np.random.Generator) -> np.ndarray:
    """A color between two neighbors."""
    place = rng.uniform(0, len(colours) - 1)
    low = min(int(place), len(colours) - 2)
    mixed = np.asarray(colours[low]) * (low + 1 - place) + np.asarray(colours[low + 1]) * (place - low)
    return np.clip(mixed + rng.normal(0, 4, 3), 20, 255)


@dataclass(frozen=True)
class Moment:
    """One picture of somebody: angles in radians, the rest as shares.

    Attributes:
        yaw: Turn to the side; `pitch` up and down, `roll` in the picture.
        open: Of the mouth, 0 to 1; `smile` and `brows` -1 to 1, `lids` 0 (closed) to 1, `gaze` -1 to 1.
        light: Direction across and down, and the share that comes from everywhere.
        glasses: Whether somebody who has glasses wears them.
    """

    yaw: float
    pitch: float
    roll: float
    open: float
    smile: float
    brows: float
    lids: float
    gaze: float
    light: tuple[float, float, float]
    glasses: bool


def sample_moment(rng: np.random.Generator) -> Moment:
    """Draw pose, expression and light of a picture."""
    return Moment(
        yaw=float(np.clip(rng.normal(0, 0.32), -0.8, 0.8)),
        pitch=float(np.clip(rng.normal(0, 0.16), -0.4, 0.4)),
        roll=float(rng.normal(0, 0.09)),
        open=float(max(0, rng.normal(-0.1, 0.5))),
        smile=float(rng.uniform(-0.5, 1)),
        brows=float(rng.uniform(-0.6, 1)),
        lids=float(0.05 if rng.random() < 0.06 else rng.uniform(0.6, 1.15)),
        gaze=float(rng.uniform(-1, 1)),
        light=(float(rng.uniform(-1, 1)), float(rng.uniform(-0.8, 0.3)), float(rng.uniform(0.3, 0.8))),
        glasses=bool(rng.random() < 0.85),
    )
