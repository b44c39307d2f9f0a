"""One person painted part by part, the far ones first."""

import numpy as np

from reid_lightning.data.pedestrians.accessories import back_hair, hand_luggage, pack, shoulder_bag
from reid_lightning.data.pedestrians.brush import ARMS, HEAD, LEGS, SIDES, TRUNK, Brush, between


def draw_person(brush: Brush) -> None:
    """Paint a person: what is behind the trunk, the legs, the trunk and head, what is in front."""
    joints = brush.joints
    far_arms = [side for side in SIDES if joints[f"{side}_elbow"][2] < -0.03]
    near_arms = [side for side in SIDES if side not in far_arms]
    far_leg = min(SIDES, key=lambda side: joints[f"{side}_knee"][2])
    facing = brush.cos > 0
    if facing:
        pack(brush)
        back_hair(brush)
    for side in far_arms:
        _arm(brush, side)
        hand_luggage(brush, side)
    for side in (far_leg, "right" if far_leg == "left" else "left"):
        _leg(brush, side, dim=0.8 if side == far_leg and abs(brush.sin) > 0.5 else 1.0)
    if facing:
        _neck(brush)
    _lower(brush)
    _trunk(brush)
    if not facing:
        _neck(brush)
    _head(brush)
    for side in sorted(near_arms, key=lambda side: joints[f"{side}_elbow"][2]):
        _arm(brush, side)
        hand_luggage(brush, side)
    shoulder_bag(brush)
    if not facing:
        back_hair(brush)
        pack(brush)


def _arm(brush: Brush, side: str) -> None:
    outfit, person, joints = brush.outfit, brush.person, brush.joints
    shoulder, elbow, hand = (joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "hand"))
    dim = 0.82 if shoulder[2] < -0.03 else 1.0
    thick = 0.031 * person.limb * brush.pixels
    owner, fold = ARMS[side], brush.fold + (5 if side == "left" else 9)
    if person.sleeve < 1:
        brush.part(
            "limb",
            outfit.skin,
            shoulder,
            elbow,
            thick,
            owner,
            dim=dim,
            overlap=(thick * 0.3, thick * 0.5),
        )
    brush.part("limb", outfit.skin, elbow, hand, thick * 0.82, owner, dim=dim, overlap=(thick * 0.5, 0))
    end = between(shoulder, elbow, min(person.sleeve, 1.0))
    wide = thick * 1.22
    if person.sleeve > 1:
        cuff = between(elbow, joints[f"{side}_wrist"], person.sleeve - 1)
        brush.part(
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
    brush.part(
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


def _leg(brush: Brush, side: str, dim: float) -> None:
    outfit, person, joints = brush.outfit, brush.person, brush.joints
    hip, knee, ankle = (joints[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
    heel, toe = joints[f"{side}_heel"], joints[f"{side}_toe"]
    owner, fold = LEGS[side], brush.fold + (2 if side == "left" else 7)
    thigh, calf = 0.056 * person.limb * brush.pixels, 0.038 * person.limb * brush.pixels
    skirt = person.wears_skirt
    foot = 0.026 * brush.pixels
    if person.hem < 1.9 or skirt:
        if person.hem < 1 or skirt:
            brush.part("limb", outfit.skin, hip, knee, thigh, owner, dim=dim, overlap=(0, calf * 0.7))
        brush.part("calf", outfit.shin, knee, ankle, calf, owner, dim=dim, overlap=(calf * 0.6, foot * 0.6))
    lower = (0.4 * heel[0] + 0.6 * ankle[0], heel[1] - foot * 0.2)
    brush.part("shoe", outfit.shoe, lower, toe, foot, owner, yaw=0.0, dim=dim, overlap=(foot, foot * 0.3))
    if skirt:
        return
    wide = thigh * person.loose * (1.0 if person.hem > 1.2 else 1.1)
    if person.hem > 1:
        end = between(knee, ankle, person.hem - 1)
        shin = calf * person.loose * 1.12
        brush.part("trouser", outfit.lower, knee, end, shin, owner, fold, dim=dim, overlap=(shin * 0.9, 0))
    end = between(hip, knee, min(person.hem, 1.0))
    after = calf if person.hem > 1 else 0.0
    name = "trouser" if person.hem > 1 else "tube"
    brush.part(name, outfit.lower, hip, end, wide, owner, fold + 1, dim=dim, overlap=(thigh * 0.5, after))


def _lower(brush: Brush) -> None:
    """Seat of the trousers, or the skirt."""
    person, outfit, joints = brush.person, brush.outfit, brush.joints
    pelvis, pixels = joints["pelvis"], brush.view.scale
    start = (pelvis[0], pelvis[1] - 0.075 * pixels)
    wide = brush.across(person.hip * 1.0, person.depth * 1.12)
    if not person.wears_skirt:
        brush.part(
            "seat",
            outfit.lower,
            start,
            (pelvis[0], pelvis[1] + 0.055 * pixels),
            wide,
            TRUNK,
            brush.fold + 3,
        )
        return
    knees = [joints["left_knee"], joints["right_knee"]]
    middle = sum(knee[0] for knee in knees) / 2
    drop = (sum(knee[1] for knee in knees) / 2 - pelvis[1]) * person.hem
    reach = 0.5 * abs(knees[0][0] - knees[1][0]) * min(person.hem, 1.0) + 0.055 * pixels * person.limb
    wide = max(wide * (1.02 + 0.22 * person.loose), reach)
    end = (pelvis[0] + 0.7 * (middle - pelvis[0]), pelvis[1] + drop)
    brush.part("skirt", outfit.skirt, start, end, wide, TRUNK, brush.fold + 3)


def _trunk(brush: Brush) -> None:
    person, outfit, joints = brush.person, brush.outfit, brush.joints
    neck, pelvis = joints["neck"], joints["pelvis"]
    female = person.attributes["gender"] == 1
    name = ("woman" if female else "man") if abs(brush.cos) > 0.45 else "profile"
    wide = brush.across(person.shoulder, person.depth * (1.1 if name == "profile" else 1.0))
    hem = -0.035 if person.wears_skirt else 0.012
    brush.part(
        name, outfit.trunk, neck, (pelvis[0], pelvis[1] + hem * brush.view.scale), wide, TRUNK, brush.fold
    )


def _neck(brush: Brush) -> None:
    joints, thick = brush.joints, 0.03 * brush.pixels
    start, end = joints["chin"], joints["neck"]
    brush.part("tube", brush.outfit.skin, start, end, thick, HEAD, dim=0.82, overlap=(thick, thick * 0.7))


def _head(brush: Brush) -> None:
    person, outfit, joints = brush.person, brush.outfit, brush.joints
    crown, chin = joints["crown"], joints["chin"]
    turned = brush.view.yaw + brush.pose.turn
    wide = person.head * (0.385 + 0.05 * abs(float(np.sin(turned)))) * brush.pixels
    brush.part("head", outfit.head, crown, chin, wide, HEAD, yaw=turned)
    if not person.wears("hat"):
        return
    high = 0.34 * person.head * brush.view.scale
    top = (crown[0], crown[1] - 0.02 * brush.view.scale)
    if person.hat_style == "brim":
        brush.part("brim", outfit.hat, top, (top[0], top[1] + high * 1.35), wide * 1.75, HEAD)
        return
    brush.part("cap", outfit.hat, top, (top[0], top[1] + high * 1.2), wide * 1.12, HEAD, yaw=turned)
    ahead = float(np.sin(turned)) * wide * 1.5
    if np.cos(turned) > -0.3:
        peak = (crown[0] + ahead, top[1] + high * 1.05)
        brush.part("round", outfit.hat, peak, (peak[0], peak[1] + high * 0.36), wide * 0.8, HEAD, dim=0.75)
