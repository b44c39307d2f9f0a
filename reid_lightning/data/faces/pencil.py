"""Paint on a rounded head that turns, and the light on it."""

from collections.abc import Sequence

import cv2
import numpy as np

from reid_lightning.data.faces.person import Face, Moment

_BITS = 4  # fixed-point bits of OpenCV's coordinates
_FRONTAL = 0.77  # part of the light's direction that comes from the camera
Points = Sequence[tuple[float, float]]


class Pencil:
    """Paints in face coordinates: across and down from -1 to 1 on the front half of a rounded head.

    Args:
        pixels: Picture to paint on, uint8.
        face: Whom.
        moment: In which pose.
        rng: Draws the crop.
    """

    def __init__(self, pixels: np.ndarray, face: Face, moment: Moment, rng: np.random.Generator):
        self.pixels, self.face, self.moment = pixels, face, moment
        size = pixels.shape[0]
        self.high = size * rng.normal(0.4, 0.024)  # half height of the head
        self.wide = self.high * face.shape["width"]
        self.centre = size * (np.array([0.5, 0.5]) + rng.normal(0, 0.03, 2))
        cos, sin = np.cos(moment.roll), np.sin(moment.roll)
        self.turn = np.array([[cos, sin], [-sin, cos]])

    def flat(self, points: Points) -> np.ndarray:
        """Pixels of points that do not turn with the head, such as its outline."""
        return np.asarray(points, float) * (self.wide, self.high) @ self.turn + self.centre

    def front(self, points: Points, radius: float = 1.0) -> np.ndarray:
        """Pixels of points on the head; `radius` above 1 stands out, as the nose's tip does."""
        across, down = np.asarray(points, float).T
        angle = np.clip(np.arcsin(np.clip(across * 0.92, -1, 1)) + self.moment.yaw, -1.57, 1.57)
        depth = radius * np.cos(angle) * np.sqrt(np.clip(1.1 - down**2, 0.1, 1))
        down = down * np.cos(self.moment.pitch) + 0.55 * np.sin(self.moment.pitch) * depth
        return self.flat(list(zip(radius * np.sin(angle) / 0.97, down, strict=True)))

    def fill(self, pixels: np.ndarray, colour: np.ndarray | tuple[int, ...], share: float = 1.0) -> None:
        """Fill a polygon of pixels; a share below 1 shades, with a soft edge."""
        corners = np.rint(pixels * 2**_BITS).astype(np.int32)
        if share == 1:
            cv2.fillPoly(self.pixels, [corners], tuple(colour), cv2.LINE_AA, _BITS)
            return
        edge = max(1, round(0.02 * self.high))
        left, top = np.maximum(pixels.min(axis=0).astype(int) - 3 * edge, 0)
        right, bottom = np.maximum(pixels.max(axis=0).astype(int) + 3 * edge, 0)
        below = self.pixels[top:bottom, left:right]
        if not below.size:
            return
        cover: np.ndarray = np.zeros(below.shape[:2], np.float32)
        corners -= np.array([left, top], np.int32) << _BITS
        cv2.fillPoly(cover, [corners], share, cv2.LINE_8, _BITS)
        cover = cv2.GaussianBlur(cover, (0, 0), edge)[..., None]
        below[...] = below * (1 - cover) + np.asarray(colour, np.float32) * cover

    def line(self, pixels: np.ndarray, colour: np.ndarray, thick: float, closed: bool = False) -> None:
        """Draw through pixels, `thick` in shares of the head's half height."""
        corners = [np.rint(pixels * 2**_BITS).astype(np.int32)]
        width = max(1, round(thick * self.high))
        cv2.polylines(self.pixels, corners, closed, tuple(colour), width, cv2.LINE_AA, _BITS)

    def lit(self) -> np.ndarray:
        """Return the picture as float32 with light on the rounded head."""
        size, coarse = len(self.pixels), len(self.pixels) // 4
        place = (np.arange(coarse, dtype=np.float32) + 0.5) * (size / coarse)
        across = ((place - self.centre[0]) / self.wide / 1.15)[None, :]
        down = ((place - self.centre[1]) / self.high / 1.15)[:, None]
        radius = np.maximum(1, np.sqrt(across**2 + down**2))
        across, down = across / radius, down / radius
        towards = np.sqrt(np.maximum(0.03, 1 - across**2 - down**2))
        x, y, ambient = self.moment.light
        glow = np.maximum(0, across * x + down * y + towards * _FRONTAL) / np.sqrt(
            x * x + y * y + _FRONTAL**2
        )
        glow = cv2.resize(ambient + (1 - ambient) * 1.15 * glow.astype(np.float32), (size, size))
        return cv2.multiply(self.pixels, cv2.merge((glow, glow, glow)), dtype=cv2.CV_32F)


def oval(across: float, down: float, half_width: float, half_height: float, tilt: float = 0.0) -> Points:
    """Points around a center; `tilt` is how far down it leans per length across."""
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    x, y = half_width * np.cos(angles), half_height * np.sin(angles)
    return [(across + dx, down + dy + tilt * dx) for dx, dy in zip(x, y, strict=True)]


def outline(face: Face, grow: float = 1.0, top: float = -1.0, bottom: float = 1.0) -> Points:
    """Right side of the head from top to bottom, then the left side back."""
    downs = np.linspace(top, bottom, 24)
    jaw, chin = face.shape["jaw"], face.shape["chin"]
    upper = np.sqrt(np.clip(1 - np.abs(np.minimum(downs, 0)) ** 2.4, 0, 1))
    lower = 1 - (1 - jaw) * np.clip(downs / 0.6, 0, 1) ** 2
    closing = np.sqrt(
        np.clip(1 - np.clip((downs - 0.55) / 0.45, 0, 1) ** 2.2 * (1 - chin * (downs < 0.999)), 0, 1)
    )
    half = upper * lower * closing * grow
    right = list(zip(half, downs * (grow if grow > 1 else 1), strict=True))
    return right + [(-x, y) for x, y in reversed(right)]
