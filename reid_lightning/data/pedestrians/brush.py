"""The brush that paints one person: where the joints are seen, and parts between them."""

import numpy as np

from reid_lightning.data.pedestrians.body import KEYPOINTS, Pose, View, joints_of
from reid_lightning.data.pedestrians.canvas import Canvas, Light
from reid_lightning.data.pedestrians.clothes import Outfit
from reid_lightning.data.pedestrians.person import Person

SIDES = ("left", "right")

# Numbers noted on the canvas for the parts of a body, and for whatever stands in front of it.
TRUNK, HEAD, ARMS, LEGS, THING = 1, 2, {"left": 3, "right": 4}, {"left": 5, "right": 6}, 7
OCCLUDER = 8


class Brush:
    """Everything that painting one person needs.

    Args:
        canvas: Picture to paint on.
        person: Whom to paint.
        outfit: The person's clothes.
        pose: How the body is held.
        view: Where from.
        light: Light on the person.
        fold: Which creases the clothes show.
    """

    def __init__(
        self, canvas: Canvas, person: Person, outfit: Outfit, pose: Pose, view: View, light: Light, fold: int
    ) -> None:
        self.canvas, self.person, self.outfit, self.pose = canvas, person, outfit, pose
        self.view, self.light, self.fold = view, light, fold
        self.joints = view.project(joints_of(person, pose))
        self.cos, self.sin = float(np.cos(view.yaw)), float(np.sin(view.yaw))
        self.pixels = view.scale * (0.5 + 0.5 * view.squeeze)  # of a body height, across limbs

    def across(self, half_width: float, half_depth: float) -> float:
        """Half width in pixels of an oval trunk seen from the side the view takes."""
        wide = (half_width * self.cos) ** 2 + (half_depth * self.sin) ** 2
        return float(np.sqrt(wide)) * self.view.scale * self.view.squeeze

    def part(
        self,
        name: str,
        cloth: np.ndarray,
        start: tuple[float, ...],
        end: tuple[float, ...],
        half_width: float,
        owner: int,
        fold: int | None = None,
        yaw: float | None = None,
        dim: float = 1.0,
        overlap: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Paint between two points; `overlap` lengthens both ends by so many pixels."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = float(np.hypot(dx, dy))
        if length < half_width:  # foreshortened: keep it as long as it is wide
            scale = half_width / max(length, 1e-3)
            dx, dy, length = (
                (dx * scale, dy * scale, half_width) if length > 1e-3 else (0.0, half_width, half_width)
            )
        before, after = overlap[0] / length, overlap[1] / length
        ends = (
            start[0] - dx * before,
            start[1] - dy * before,
            start[0] + dx * (1 + after),
            start[1] + dy * (1 + after),
        )
        turn = self.view.yaw if yaw is None else yaw
        self.canvas.part(name, cloth, ends, half_width, turn, self.light, owner, fold, dim)

    def keypoints(self) -> np.ndarray:
        """Return (17, 3) float32: column and row in the canvas' pixels, and 2 in sight, 1 hidden, 0 outside."""
        rows, columns = self.canvas.owner.shape
        points = np.zeros((len(KEYPOINTS), 3), np.float32)
        for k, name in enumerate(KEYPOINTS):
            x, y, depth = self.joints[name]
            points[k, :2] = x, y
            if 0 <= x < columns and 0 <= y < rows:
                points[k, 2] = 2 if _in_sight(name, int(self.canvas.owner[int(y), int(x)]), depth) else 1
        return points


def between(start: tuple[float, ...], end: tuple[float, ...], share: float) -> tuple[float, float]:
    """Return the point at a share of the way."""
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _in_sight(name: str, owner: int, depth: float) -> bool:
    """Tell by the part painted last over a joint; 0 is the ground between the parts' edges."""
    if name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear"):
        return depth > -0.005 and owner in (0, HEAD)
    side, joint = name.split("_", maxsplit=1)
    own = ARMS[side] if joint in ("shoulder", "elbow", "wrist") else LEGS[side]
    return owner in ((0, own, TRUNK) if joint in ("shoulder", "hip") else (0, own))
