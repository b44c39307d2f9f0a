"""The body in motion: joints of a walking or standing person in space, and their view from a camera."""

from dataclasses import dataclass

import numpy as np

from reid_lightning.data.pedestrians.person import Person

#: Order of the stored key points, as in COCO.
KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Pose:
    """How a person holds the body in one shot.

    Attributes:
        phase: Phase of the gait in radians.
        stride: Largest angle of the thigh in radians; 0 stands.
        spread: Angle of the arms away from the body in radians.
        elbows: Bend of the left and right elbow in radians.
        lean: Forward lean of the trunk in radians.
        turn: Turn of the head in radians, positive to the person's left.
    """

    phase: float
    stride: float
    spread: float
    elbows: tuple[float, float]
    lean: float
    turn: float


def sample_pose(rng: np.random.Generator, person: Person) -> Pose:
    """Draw a shot's pose: mostly walking, sometimes standing, sometimes looking at a telephone."""
    standing = rng.random() < 0.17
    stride = person.stride * rng.uniform(0.75, 1.15) * (0.2 if standing else 1.0)
    elbows = [rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.5)]
    if rng.random() < 0.14:
        elbows[rng.integers(2)] = rng.uniform(1.6, 2.2)
    if person.wears("handbag"):
        elbows[0 if person.side > 0 else 1] = rng.uniform(0.2, 0.9)
    return Pose(
        phase=rng.uniform(0, 2 * np.pi),
        stride=stride,
        spread=rng.uniform(0.06, 0.2),
        elbows=(elbows[0], elbows[1]),
        lean=rng.normal(0.03, 0.03),
        turn=float(np.clip(rng.normal(0, 0.25), -0.7, 0.7)),
    )


def joints_of(person: Person, pose: Pose) -> dict[str, Point]:
    """Return the joints in the body's frame: x to the person's left, y up, z forward.

    The unit is the body height; the lower foot stands on y = 0.
    """
    joints: dict[str, Point] = {}
    thigh, shin = 0.5 * (person.leg - 0.04), 0.5 * (person.leg - 0.04)
    for name, side in (("left", 1.0), ("right", -1.0)):
        angle = pose.stride * np.sin(pose.phase) * side
        forward = np.cos(pose.phase) * side
        flex = 0.06 + pose.stride * (0.25 + 1.5 * max(0.0, forward))
        x = side * person.hip * 0.52
        hip = (x, 0.0, 0.0)
        knee = _along(hip, thigh, angle)
        ankle = _along(knee, shin, angle - flex)
        tilt = 0.15 - 0.8 * (flex - 0.06) * (angle < 0.2)  # the toe points down while the leg swings
        joints |= {f"{name}_hip": hip, f"{name}_knee": knee, f"{name}_ankle": ankle}
        joints[f"{name}_heel"] = (ankle[0], ankle[1] - 0.020, ankle[2] - 0.028)
        joints[f"{name}_toe"] = (
            ankle[0] + 0.012 * side,
            ankle[1] - 0.022 + 0.11 * (tilt - 0.15),
            ankle[2] + 0.098,
        )
    sole = min(joints[f"{name}_{part}"][1] for name in ("left", "right") for part in ("heel", "toe")) - 0.014
    joints = {name: (x, y - sole, z) for name, (x, y, z) in joints.items()}
    ground = joints["left_hip"][1]
    top = 1.0 - person.leg + ground  # the crown: higher when the legs are straight
    shoulder_y, lean = top - person.head - 0.055, pose.lean
    for name, side, bend in (("left", 1.0, pose.elbows[0]), ("right", -1.0, pose.elbows[1])):
        swing = -0.75 * pose.stride * np.sin(pose.phase) * side
        height = shoulder_y - ground
        shoulder = (side * person.shoulder * 0.86, shoulder_y, height * lean)
        if bend > 1.3:
            swing = 0.25
        elbow = _along(shoulder, 0.165, swing, side * pose.spread)
        inward = -side * (0.55 if bend > 1.3 else 0.06)
        wrist = _along(elbow, 0.145, swing + bend, inward)
        hand = _along(elbow, 0.195, swing + bend, inward)
        joints |= {
            f"{name}_shoulder": shoulder,
            f"{name}_elbow": elbow,
            f"{name}_wrist": wrist,
            f"{name}_hand": hand,
        }
    z = (shoulder_y - ground) * lean
    joints["pelvis"] = (0.0, ground, 0.0)
    joints["neck"] = (0.0, shoulder_y + 0.025, z)
    joints["chin"] = (0.0, top - person.head, z + 0.012)
    joints["crown"] = (0.0, top, z + 0.018)
    middle = (top - 0.5 * person.head, z + 0.015)
    across, deep = 0.36 * person.head, 0.42 * person.head
    for name, angle, drop in (
        ("nose", 0.0, -0.08), ("left_eye", 0.42, 0.03), ("right_eye", -0.42, 0.03),
        ("left_ear", 1.57, 0.0), ("right_ear", -1.57, 0.0),
    ):  # fmt: skip
        turned = angle + pose.turn
        point = (across * np.sin(turned), middle[0] + drop * person.head, middle[1] + deep * np.cos(turned))
        joints[name] = point
    return joints


@dataclass(frozen=True)
class View:
    """The camera's view of one person.

    Attributes:
        yaw: Turn of the body in radians: 0 faces the camera, pi/2 walks to the image's right, pi shows the back.
        pitch: Angle in radians by which the camera looks down.
        scale: Pixels per body height.
        x: Column of the person's middle in pixels.
        y: Row of the ground under the person in pixels.
        squeeze: Width over height of the picture relative to the world (a box resized to 1:2 distorts).
    """

    yaw: float
    pitch: float
    scale: float
    x: float
    y: float
    squeeze: float = 1.0

    def project(self, joints: dict[str, Point]) -> dict[str, Point]:
        """Return column, row and depth (toward the camera, in body heights) of every joint."""
        cos, sin = float(np.cos(self.yaw)), float(np.sin(self.yaw))
        up, ahead = float(np.cos(self.pitch)), float(np.sin(self.pitch))
        seen: dict[str, Point] = {}
        for name, (x, y, z) in joints.items():
            depth = z * cos - x * sin
            column = self.x + self.scale * self.squeeze * (x * cos + z * sin)
            seen[name] = (column, self.y - self.scale * (y * up - depth * ahead), depth)
        return seen


def _along(start: Point, length: float, angle: float, aside: float = 0.0) -> Point:
    """Go down from a joint: `angle` swings forward, `aside` to the person's left."""
    down = float(np.cos(angle) * np.cos(aside))
    return (
        start[0] + length * float(np.sin(aside)),
        start[1] - length * down,
        start[2] + length * float(np.sin(angle)),
    )
