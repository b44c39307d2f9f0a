"""Hair that falls, backpacks, bags and handbags."""

import numpy as np

from reid_lightning.data.pedestrians.brush import HEAD, THING, Brush


def back_hair(brush: Brush) -> None:
    """Paint long hair, a ponytail or a bun."""
    person, joints = brush.person, brush.joints
    style, size = person.hair_style, person.head * brush.view.scale
    crown, chin = joints["crown"], joints["chin"]
    behind = -float(np.sin(brush.view.yaw + brush.pose.turn)) * size
    hair = brush.outfit.hair
    if style in ("long", "bob"):
        length = 1.05 if style == "bob" else 1.35 + 0.35 * person.carried_size
        x = crown[0] + 0.17 * behind
        wide = size * (0.44 + 0.04 * abs(brush.cos)) * (0.5 + 0.5 * brush.view.squeeze)
        brush.part(
            "mane",
            hair,
            (x, crown[1] + size * 0.04),
            (x + 0.1 * behind, crown[1] + length * size),
            wide,
            HEAD,
        )
    elif style == "ponytail":
        x = crown[0] + 0.42 * behind
        brush.part(
            "tail",
            hair,
            (x, crown[1] + 0.3 * size),
            (x + 0.2 * behind, chin[1] + 0.45 * size),
            0.15 * size,
            HEAD,
        )
    elif style == "bun":
        x = crown[0] + 0.42 * behind
        brush.part("round", hair, (x, crown[1] - 0.02 * size), (x, crown[1] + 0.34 * size), 0.18 * size, HEAD)


def pack(brush: Brush) -> None:
    """Paint a backpack; its face looks backwards."""
    person, joints = brush.person, brush.joints
    if not person.wears("backpack"):
        return
    neck, size = joints["neck"], person.carried_size
    x = neck[0] - brush.sin * (person.depth + 0.06 * size) * brush.view.scale * brush.view.squeeze
    top = neck[1] + 0.035 * brush.view.scale
    wide = brush.across(0.098 * size, 0.072 * size)
    turn = brush.view.yaw + np.pi
    ends = (x, top), (x - brush.sin * 0.015 * brush.view.scale, top + 0.29 * size * brush.view.scale)
    brush.part("pack", brush.outfit.carried, *ends, wide, THING, yaw=turn)


def shoulder_bag(brush: Brush) -> None:
    """Paint a bag at the hip, on its side of the body; hidden from the other side."""
    person, joints = brush.person, brush.joints
    if not person.wears("bag"):
        return
    out = person.side * (person.hip + 0.035)
    if -out * brush.sin < -0.07:
        return
    x = joints["pelvis"][0] + out * brush.cos * brush.view.scale * brush.view.squeeze
    y = joints["pelvis"][1] - 0.06 * brush.view.scale
    size = person.carried_size
    wide = brush.across(0.05 * size, 0.095 * size)
    turn = brush.view.yaw + person.side * np.pi / 2
    brush.part(
        "pack",
        brush.outfit.carried,
        (x, y),
        (x, y + 0.155 * size * brush.view.scale),
        wide,
        THING,
        yaw=turn,
    )


def hand_luggage(brush: Brush, side: str) -> None:
    """Paint a handbag below the hand that carries it."""
    person = brush.person
    if not person.wears("handbag") or side != ("left" if person.side > 0 else "right"):
        return
    x, y, _ = brush.joints[f"{side}_hand"]
    size, unit = person.carried_size, brush.view.scale
    wide = brush.across(0.04 * size, 0.085 * size)
    drop = 0.07 * unit
    for shift in (-0.5, 0.5):
        start, end = (x, y - 0.01 * unit), (x + shift * wide, y + drop + 2)
        brush.part("tube", brush.outfit.hat, start, end, 0.006 * unit, THING)
    turn = brush.view.yaw + person.side * np.pi / 2
    brush.part(
        "pack",
        brush.outfit.carried,
        (x, y + drop),
        (x, y + drop + 0.125 * size * unit),
        wide,
        THING,
        yaw=turn,
    )
