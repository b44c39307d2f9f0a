"""One person painted part by part, the far ones first."""

import numpy as np

from reid_lightning.data.pedestrians.body import KEYPOINTS, Point, Pose, View, joints_of
from reid_lightning.data.pedestrians.canvas import Canvas, Light
from reid_lightning.data.pedestrians.clothes import Outfit
from reid_lightning.data.pedestrians.person import Person

# Numbers noted on the canvas for the parts of a body; `_VISIBLE_ON` says on which of them a joint is in sight.
_TRUNK, _HEAD, _ARMS, _LEGS, _THING = 1, 2, {"left": 3, "right": 4}, {"left": 5, "right": 6}, 7
OCCLUDER = 8
_SIDES = ("left", "right")


def draw_person(
    canvas: Canvas, person: Person, outfit: Outfit, pose: Pose, view: View, light: Light, fold: int
) -> dict[str, Point]:
    """Paint a person and return the joints in the picture (column, row, depth)."""
    painter = _Painter(canvas, person, outfit, pose, view, light, fold)
    painter.draw()
    return painter.joints


def keypoints_of(joints: dict[str, Point], canvas: Canvas, view: View) -> np.ndarray:
    """Return (17, 3) float32: column and row in the canvas' pixels, and 2 in sight, 1 hidden, 0 outside."""
    rows, columns = canvas.owner.shape
    points = np.zeros((len(KEYPOINTS), 3), np.float32)
    for k, name in enumerate(KEYPOINTS):
        x, y, depth = joints[name]
        points[k, :2] = x, y
        if 0 <= x < columns and 0 <= y < rows:
            points[k, 2] = 2 if _in_sight(name, int(canvas.owner[int(y), int(x)]), depth) else 1
    return points


def _in_sight(name: str, owner: int, depth: float) -> bool:
    if name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear"):
        return depth > -0.005 and owner in (0, _HEAD)
    side, joint = name.split("_", maxsplit=1)
    own = _ARMS[side] if joint in ("shoulder", "elbow", "wrist") else _LEGS[side]
    return owner in ((0, own, _TRUNK) if joint in ("shoulder", "hip") else (0, own))


class _Painter:
    """The parts of one drawing; every method paints one group."""

    def __init__(
        self, canvas: Canvas, person: Person, outfit: Outfit, pose: Pose, view: View, light: Light, fold: int
    ) -> None:
        self.canvas, self.person, self.outfit, self.pose = canvas, person, outfit, pose
        self.view, self.light, self.fold = view, light, fold
        self.joints = view.project(joints_of(person, pose))
        self.cos, self.sin = float(np.cos(view.yaw)), float(np.sin(view.yaw))
        self.pixels = view.scale * (0.5 + 0.5 * view.squeeze)  # of a body height, across limbs

    def draw(self) -> None:
        far_arms = [side for side in _SIDES if self.joints[f"{side}_elbow"][2] < -0.03]
        far_leg = min(_SIDES, key=lambda side: self.joints[f"{side}_knee"][2])
        facing = self.cos > 0
        if facing:
            self.pack()
            self.back_hair()
        for side in far_arms:
            self.arm(side)
            self.hand_luggage(side)
        for side in (far_leg, "right" if far_leg == "left" else "left"):
            self.leg(side, dim=0.8 if side == far_leg and abs(self.sin) > 0.5 else 1.0)
        if facing:
            self.neck()
        self.lower()
        self.trunk()
        if not facing:
            self.neck()
        self.head()
        near_arms = [side for side in _SIDES if side not in far_arms]
        for side in sorted(near_arms, key=lambda side: self.joints[f"{side}_elbow"][2]):
            self.arm(side)
            self.hand_luggage(side)
        self.shoulder_bag()
        if not facing:
            self.back_hair()
            self.pack()

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

    def arm(self, side: str) -> None:
        outfit, person, joints = self.outfit, self.person, self.joints
        shoulder, elbow, hand = (joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "hand"))
        dim = 0.82 if shoulder[2] < -0.03 else 1.0
        thick = 0.031 * person.limb * self.pixels
        owner, fold = _ARMS[side], self.fold + (5 if side == "left" else 9)
        if person.sleeve < 1:
            self.part(
                "limb",
                outfit.skin,
                shoulder,
                elbow,
                thick,
                owner,
                dim=dim,
                overlap=(thick * 0.3, thick * 0.5),
            )
        self.part("limb", outfit.skin, elbow, hand, thick * 0.82, owner, dim=dim, overlap=(thick * 0.5, 0))
        end = _between(shoulder, elbow, min(person.sleeve, 1.0))
        wide = thick * 1.22
        if person.sleeve > 1:
            cuff = _between(elbow, joints[f"{side}_wrist"], person.sleeve - 1)
            self.part(
                "sleeve",
                outfit.sleeve,
                elbow,
                cuff,
                wide * 0.88,
                owner,
                fold,
                dim=dim,
                overlap=(thick * 0.6, 0),
            )
        after = thick * 0.6 if person.sleeve > 1 else 0.0
        self.part(
            "sleeve",
            outfit.sleeve,
            shoulder,
            end,
            wide,
            owner,
            fold + 1,
            dim=dim,
            overlap=(thick * 0.15, after),
        )

    def leg(self, side: str, dim: float) -> None:
        outfit, person, joints = self.outfit, self.person, self.joints
        hip, knee, ankle = (joints[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
        heel, toe = joints[f"{side}_heel"], joints[f"{side}_toe"]
        owner, fold = _LEGS[side], self.fold + (2 if side == "left" else 7)
        thigh, calf = 0.056 * person.limb * self.pixels, 0.038 * person.limb * self.pixels
        skirt = person.wears_skirt
        foot = 0.026 * self.pixels
        if person.hem < 1.9 or skirt:
            if person.hem < 1 or skirt:
                self.part("limb", outfit.skin, hip, knee, thigh, owner, dim=dim, overlap=(0, calf * 0.7))
            self.part(
                "calf", outfit.shin, knee, ankle, calf, owner, dim=dim, overlap=(calf * 0.6, foot * 0.6)
            )
        lower = (0.4 * heel[0] + 0.6 * ankle[0], heel[1] - foot * 0.2)
        self.part("shoe", outfit.shoe, lower, toe, foot, owner, yaw=0.0, dim=dim, overlap=(foot, foot * 0.3))
        if skirt:
            return
        wide = thigh * person.loose * (1.0 if person.hem > 1.2 else 1.1)
        if person.hem > 1:
            end = _between(knee, ankle, person.hem - 1)
            shin = calf * person.loose * 1.12
            self.part("trouser", outfit.lower, knee, end, shin, owner, fold, dim=dim, overlap=(shin * 0.9, 0))
        end = _between(hip, knee, min(person.hem, 1.0))
        after = calf if person.hem > 1 else 0.0
        name = "trouser" if person.hem > 1 else "tube"
        self.part(name, outfit.lower, hip, end, wide, owner, fold + 1, dim=dim, overlap=(thigh * 0.5, after))

    def lower(self) -> None:
        """Seat of the trousers, or the skirt."""
        person, outfit, joints = self.person, self.outfit, self.joints
        pelvis, pixels = joints["pelvis"], self.view.scale
        start = (pelvis[0], pelvis[1] - 0.075 * pixels)
        wide = self.across(person.hip * 1.0, person.depth * 1.12)
        if not person.wears_skirt:
            self.part(
                "seat",
                outfit.lower,
                start,
                (pelvis[0], pelvis[1] + 0.055 * pixels),
                wide,
                _TRUNK,
                self.fold + 3,
            )
            return
        knees = [joints["left_knee"], joints["right_knee"]]
        middle = sum(knee[0] for knee in knees) / 2
        drop = (sum(knee[1] for knee in knees) / 2 - pelvis[1]) * person.hem
        reach = 0.5 * abs(knees[0][0] - knees[1][0]) * min(person.hem, 1.0) + 0.055 * pixels * person.limb
        wide = max(wide * (1.02 + 0.22 * person.loose), reach)
        end = (pelvis[0] + 0.7 * (middle - pelvis[0]), pelvis[1] + drop)
        self.part("skirt", outfit.skirt, start, end, wide, _TRUNK, self.fold + 3)

    def trunk(self) -> None:
        person, outfit, joints = self.person, self.outfit, self.joints
        neck, pelvis = joints["neck"], joints["pelvis"]
        female = person.attributes["gender"] == 1
        name = ("woman" if female else "man") if abs(self.cos) > 0.45 else "profile"
        wide = self.across(person.shoulder, person.depth * (1.1 if name == "profile" else 1.0))
        hem = -0.035 if person.wears_skirt else 0.012
        self.part(
            name, outfit.trunk, neck, (pelvis[0], pelvis[1] + hem * self.view.scale), wide, _TRUNK, self.fold
        )

    def neck(self) -> None:
        joints, thick = self.joints, 0.03 * self.pixels
        start, end = joints["chin"], joints["neck"]
        self.part("tube", self.outfit.skin, start, end, thick, _HEAD, dim=0.82, overlap=(thick, thick * 0.7))

    def head(self) -> None:
        person, outfit, joints = self.person, self.outfit, self.joints
        crown, chin = joints["crown"], joints["chin"]
        turned = self.view.yaw + self.pose.turn
        wide = person.head * (0.385 + 0.05 * abs(float(np.sin(turned)))) * self.pixels
        self.part("head", outfit.head, crown, chin, wide, _HEAD, yaw=turned)
        if not person.wears("hat"):
            return
        high = 0.34 * person.head * self.view.scale
        top = (crown[0], crown[1] - 0.02 * self.view.scale)
        if person.hat_style == "brim":
            self.part("brim", outfit.hat, top, (top[0], top[1] + high * 1.35), wide * 1.75, _HEAD)
            return
        self.part("cap", outfit.hat, top, (top[0], top[1] + high * 1.2), wide * 1.12, _HEAD, yaw=turned)
        ahead = float(np.sin(turned)) * wide * 1.5
        if np.cos(turned) > -0.3:
            peak = (crown[0] + ahead, top[1] + high * 1.05)
            self.part(
                "round", outfit.hat, peak, (peak[0], peak[1] + high * 0.36), wide * 0.8, _HEAD, dim=0.75
            )

    def back_hair(self) -> None:
        person, joints = self.person, self.joints
        style, size = person.hair_style, person.head * self.view.scale
        crown, chin = joints["crown"], joints["chin"]
        behind = -float(np.sin(self.view.yaw + self.pose.turn)) * size
        hair = self.outfit.hair
        if style in ("long", "bob"):
            length = 1.05 if style == "bob" else 1.35 + 0.35 * person.carried_size
            x = crown[0] + 0.17 * behind
            wide = size * (0.44 + 0.04 * abs(self.cos)) * (0.5 + 0.5 * self.view.squeeze)
            self.part(
                "mane",
                hair,
                (x, crown[1] + size * 0.04),
                (x + 0.1 * behind, crown[1] + length * size),
                wide,
                _HEAD,
            )
        elif style == "ponytail":
            x = crown[0] + 0.42 * behind
            self.part(
                "tail",
                hair,
                (x, crown[1] + 0.3 * size),
                (x + 0.2 * behind, chin[1] + 0.45 * size),
                0.15 * size,
                _HEAD,
            )
        elif style == "bun":
            x = crown[0] + 0.42 * behind
            self.part(
                "round", hair, (x, crown[1] - 0.02 * size), (x, crown[1] + 0.34 * size), 0.18 * size, _HEAD
            )

    def pack(self) -> None:
        person, joints = self.person, self.joints
        if not person.wears("backpack"):
            return
        neck, size = joints["neck"], person.carried_size
        x = neck[0] - self.sin * (person.depth + 0.06 * size) * self.view.scale * self.view.squeeze
        top = neck[1] + 0.035 * self.view.scale
        wide = self.across(0.098 * size, 0.072 * size)
        turn = self.view.yaw + np.pi  # its face looks backwards
        ends = (x, top), (x - self.sin * 0.015 * self.view.scale, top + 0.29 * size * self.view.scale)
        self.part("pack", self.outfit.carried, *ends, wide, _THING, yaw=turn)

    def shoulder_bag(self) -> None:
        """A bag at the hip, on its side of the body; hidden from the other side."""
        person, joints = self.person, self.joints
        if not person.wears("bag"):
            return
        out = person.side * (person.hip + 0.035)
        if -out * self.sin < -0.07:
            return
        x = joints["pelvis"][0] + out * self.cos * self.view.scale * self.view.squeeze
        y = joints["pelvis"][1] - 0.06 * self.view.scale
        size = person.carried_size
        wide = self.across(0.05 * size, 0.095 * size)
        turn = self.view.yaw + person.side * np.pi / 2
        self.part(
            "pack",
            self.outfit.carried,
            (x, y),
            (x, y + 0.155 * size * self.view.scale),
            wide,
            _THING,
            yaw=turn,
        )

    def hand_luggage(self, side: str) -> None:
        person = self.person
        if not person.wears("handbag") or side != ("left" if person.side > 0 else "right"):
            return
        x, y, _ = self.joints[f"{side}_hand"]
        size, unit = person.carried_size, self.view.scale
        wide = self.across(0.04 * size, 0.085 * size)
        drop = 0.07 * unit
        for shift in (-0.5, 0.5):
            start, end = (x, y - 0.01 * unit), (x + shift * wide, y + drop + 2)
            self.part("tube", self.outfit.hat, start, end, 0.006 * unit, _THING)
        turn = self.view.yaw + person.side * np.pi / 2
        self.part(
            "pack",
            self.outfit.carried,
            (x, y + drop),
            (x, y + drop + 0.125 * size * unit),
            wide,
            _THING,
            yaw=turn,
        )


def _between(start: tuple[float, ...], end: tuple[float, ...], share: float) -> tuple[float, float]:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
