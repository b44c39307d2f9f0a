"""What a person wears, as unrolled cloth: every surface is a cylinder whose columns run round the body.

Column `c` of `C` lies at the body angle `(c / C - 1/2) * 2 pi`: 0 is the front, positive the person's left. So the
same cloth shows its print from the front, its seams from the side and its back from behind.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from reid_lightning.data.pedestrians.person import Colour, Person

ROWS, COLUMNS = 48, 128
FRONT = COLUMNS // 2


@dataclass(frozen=True)
class Outfit:
    """Unrolled surfaces of one person.

    Each is (ROWS, 2 * COLUMNS, 4) float32: RGB in 0..1 and a 1, and twice round the body, so that a turn needs
    no wrapping.
    """

    trunk: np.ndarray
    sleeve: np.ndarray
    lower: np.ndarray
    skirt: np.ndarray
    skin: np.ndarray
    shin: np.ndarray
    head: np.ndarray
    hair: np.ndarray
    shoe: np.ndarray
    carried: np.ndarray
    hat: np.ndarray


def dress(person: Person) -> Outfit:
    """Make the surfaces of a person from the traits; the same person always gets the same ones."""
    rng = np.random.default_rng(person.pattern_seed)
    upper = weave(rng, person.upper, person.upper_pattern, scale=1.0)
    plain_sleeve = person.upper_pattern in ("print", "logo", "blocks", "open", "hem")
    sleeve = weave(rng, person.upper, "plain" if plain_sleeve else person.upper_pattern, scale=2.0)
    if plain_sleeve and rng.random() < 0.3:
        sleeve[:] = person.upper[1]
    trunk = _tailor(rng, upper.copy(), person)
    skirt = upper if person.one_piece else weave(rng, person.lower, person.lower_pattern, scale=1.0)
    lower = weave(rng, person.lower, person.lower_pattern, scale=1.6)
    skin = _uniform(person.skin)
    shin = skin.copy()
    shin[round(ROWS * (1 - person.socks)) :] = 0.9 if rng.random() < 0.6 else 0.15
    shoe = _uniform(person.shoes)
    shoe[:, : COLUMNS // 4] = shoe[:, -COLUMNS // 4 :] = 0.85 if rng.random() < 0.5 else 0.2
    return Outfit(
        trunk=_roll(trunk),
        sleeve=_roll(sleeve),
        lower=_roll(lower),
        skirt=_roll(skirt),
        skin=_roll(skin),
        shin=_roll(shin),
        head=_roll(_head(person)),
        hair=_roll(_strands(rng, person.hair_colour)),
        shoe=_roll(shoe),
        carried=_roll(_bag(rng, person)),
        hat=_roll(_uniform(person.carried_trim)),
    )


def _uniform(colour: Colour) -> np.ndarray:
    return np.full((ROWS, COLUMNS, 3), colour, np.float32)


def _roll(cloth: np.ndarray) -> np.ndarray:
    whole = np.ones((ROWS, 2 * COLUMNS, 4), np.float32)
    whole[:, :COLUMNS, :3] = whole[:, COLUMNS:, :3] = cloth
    return whole


def weave(
    rng: np.random.Generator, colours: tuple[Colour, Colour, Colour], pattern: str, scale: float
) -> np.ndarray:
    """Return cloth of one pattern, (ROWS, COLUMNS, 3) float32.

    Args:
        rng: Source of the pattern's sizes and places.
        colours: Main, second and third color.
        pattern: One of the names that `person` draws.
        scale: Columns per unit of length relative to the trunk: limbs are thinner, so their cloth is stretched.
    """
    main, second, third = colours
    cloth = _uniform(main)
    rows, columns = np.arange(ROWS)[:, None], np.arange(COLUMNS)[None, :] / scale
    if pattern in ("stripes", "wide_stripes"):
        period = rng.uniform(5, 9) if pattern == "stripes" else rng.uniform(10, 20)
        cloth = _mix(cloth, second, (rows / period) % 1 < rng.uniform(0.3, 0.55))
    elif pattern == "bars":
        cloth = _mix(cloth, second, (columns / rng.uniform(6, 12)) % 1 < rng.uniform(0.25, 0.5))
    elif pattern == "checks":
        period = rng.uniform(7, 13)
        share = rng.uniform(0.25, 0.5)
        cloth = _mix(cloth, second, (rows / period) % 1 < share, 0.55)
        cloth = _mix(cloth, second, (columns / period) % 1 < share, 0.55)
    elif pattern in ("flowers", "dots"):
        cloth = _scatter(rng, cloth, (second, third), spots=90 if pattern == "flowers" else 60, scale=scale)
    elif pattern == "gradient":
        cloth = _mix(cloth, second, np.linspace(0, 1, ROWS)[:, None] ** rng.uniform(0.7, 2))
    elif pattern == "blocks":
        cut = rng.uniform(0.25, 0.6) * ROWS
        cloth = _mix(cloth, second, rows < cut if rng.random() < 0.6 else rows > cut)
    elif pattern == "seam":
        beside = np.abs(np.abs(columns * scale - FRONT) - COLUMNS / 4) < rng.uniform(3, 6)
        cloth = _mix(cloth, second, beside)
    elif pattern == "hem":
        cloth = _mix(cloth, second, rows > ROWS * rng.uniform(0.75, 0.9))
    elif pattern == "faded":
        middle = np.exp(-(((rows / ROWS) - 0.45) ** 2) / 0.06) * np.exp(
            -(((columns * scale - FRONT) / 22) ** 2)
        )
        cloth = _mix(cloth, np.float32(1.0), 0.35 * middle)
    return cloth


def _mix(cloth: np.ndarray, colour: Colour | np.float32, share: np.ndarray, most: float = 1.0) -> np.ndarray:
    weight = (np.broadcast_to(share, cloth.shape[:2]) * np.float32(most))[..., None].astype(np.float32)
    return cloth * (1 - weight) + np.asarray(colour, np.float32) * weight


def _scatter(
    rng: np.random.Generator, cloth: np.ndarray, colours: tuple[Colour, Colour], spots: int, scale: float
) -> np.ndarray:
    cloth = np.ascontiguousarray(cloth)
    size = rng.uniform(1.0, 2.6)
    for k in range(int(spots)):
        centre = (int(rng.integers(COLUMNS)), int(rng.integers(ROWS)))
        axes = (max(1, round(size * scale)), max(1, round(size)))
        cv2.ellipse(cloth, centre, axes, 0, 0, 360, [float(x) for x in colours[k % 2]], -1, cv2.LINE_AA)
    return cloth


def _tailor(rng: np.random.Generator, cloth: np.ndarray, person: Person) -> np.ndarray:
    """Cut the neckline and add print, buttons, collar, belt and the straps of what is carried."""
    pattern, (_, second, third) = person.upper_pattern, person.upper
    cloth = np.ascontiguousarray(cloth)
    if pattern == "print":
        _draw_print(rng, cloth, FRONT, second, third)
        if rng.random() < 0.35:
            _draw_print(rng, cloth, 0, second, third)
            cloth = np.roll(_draw_print(rng, np.roll(cloth, FRONT, 1), FRONT, second, third), -FRONT, 1)
    elif pattern == "logo":
        side = FRONT + int(person.side * rng.uniform(6, 12))
        cv2.ellipse(cloth, (side, 13), (3, 3), 0, 0, 360, _plain(second), -1, cv2.LINE_AA)
    elif pattern == "open":  # a jacket or shirt worn open
        width = int(rng.uniform(7, 13))
        cv2.rectangle(cloth, (FRONT - width, 0), (FRONT + width, ROWS), _plain(second), -1)
    kind = rng.random()
    if kind < 0.35:  # round or deep neck
        deep = int(rng.uniform(3, 8))
        cv2.ellipse(
            cloth,
            (FRONT, 0),
            (int(rng.uniform(6, 12)), deep),
            0,
            0,
            360,
            _plain(person.skin),
            -1,
            cv2.LINE_AA,
        )
    elif kind < 0.6:  # shirt: row of buttons and a collar
        cv2.line(cloth, (FRONT, 0), (FRONT, ROWS), _plain(cloth[ROWS // 2, FRONT] * 0.72), 1, cv2.LINE_AA)
        cloth[:3] = cloth[:3] * 0.5 + second * 0.5
    if not person.one_piece and rng.random() < 0.3:
        cloth[-3:] = person.lower[1] * 0.4
    _draw_straps(cloth, person)
    return cloth


def _draw_print(
    rng: np.random.Generator, cloth: np.ndarray, column: int, colour: Colour, detail: Colour
) -> np.ndarray:
    cloth = np.ascontiguousarray(cloth)
    centre = (column, int(rng.uniform(15, 23)))
    wide, high = int(rng.uniform(7, 15)), int(rng.uniform(4, 11))
    shape = int(rng.integers(4))
    if shape == 0:
        cv2.ellipse(cloth, centre, (wide, high), 0, 0, 360, _plain(colour), -1, cv2.LINE_AA)
    elif shape == 1:
        corners = ((centre[0] - wide, centre[1] - high), (centre[0] + wide, centre[1] + high))
        cv2.rectangle(cloth, *corners, _plain(colour), -1)
    elif shape == 2:  # lines of lettering
        for k in range(int(rng.integers(2, 4))):
            y = centre[1] - high + 6 * k
            cv2.line(
                cloth, (centre[0] - wide, y), (centre[0] + wide - 3 * k, y), _plain(colour), 2, cv2.LINE_AA
            )
    else:
        points = [
            [centre[0] - wide, centre[1] + high],
            [centre[0], centre[1] - high],
            [centre[0] + wide, centre[1] + high],
        ]
        cv2.fillConvexPoly(cloth, np.asarray(points, np.int32), _plain(colour), cv2.LINE_AA)
    spot = (centre[0] + int(rng.integers(-4, 5)), centre[1] + int(rng.integers(-3, 4)))
    cv2.ellipse(
        cloth, spot, (max(2, wide // 3), max(2, high // 3)), 0, 0, 360, _plain(detail), -1, cv2.LINE_AA
    )
    return cloth


def _draw_straps(cloth: np.ndarray, person: Person) -> None:
    strap = _plain(person.carried_trim if person.wears("bag") else person.carried * 0.85)
    if person.wears("backpack"):
        for side in (-1, 1):
            cv2.line(cloth, (FRONT + 13 * side, 0), (FRONT + 16 * side, ROWS // 2), strap, 3, cv2.LINE_AA)
            cv2.line(
                cloth,
                (FRONT + 16 * side, ROWS // 2),
                (FRONT + 34 * side, ROWS * 5 // 8),
                strap,
                2,
                cv2.LINE_AA,
            )
    elif person.wears("bag"):  # from the far shoulder across the chest and back to the hip
        near, far = FRONT + 30 * person.side, FRONT - 15 * person.side
        cv2.line(cloth, (far, 0), (near, ROWS - 4), strap, 2, cv2.LINE_AA)
        behind, rear = (FRONT - 46 * person.side) % COLUMNS, (FRONT + 34 * person.side) % COLUMNS
        cv2.line(cloth, (behind, 0), (0 if behind < FRONT else COLUMNS - 1, ROWS // 2), strap, 2, cv2.LINE_AA)
        cv2.line(
            cloth, (COLUMNS - 1 if behind < FRONT else 0, ROWS // 2), (rear, ROWS - 4), strap, 2, cv2.LINE_AA
        )


def _head(person: Person) -> np.ndarray:
    """Face in front, hair on top, at the back and, by its style, at the sides."""
    head = _uniform(person.skin)
    dark = person.skin * 0.35
    for side in (-1, 1):
        cv2.ellipse(head, (FRONT + 9 * side, 23), (4, 2), 0, 0, 360, _plain(dark), -1, cv2.LINE_AA)
        cv2.line(
            head, (FRONT + 5 * side, 19), (FRONT + 14 * side, 19), _plain(person.skin * 0.55), 1, cv2.LINE_AA
        )
    cv2.line(head, (FRONT, 24), (FRONT, 30), _plain(person.skin * 0.85), 2, cv2.LINE_AA)
    lips = person.skin * np.asarray([0.8, 0.5, 0.5], np.float32)
    cv2.line(head, (FRONT - 6, 36), (FRONT + 6, 36), _plain(lips), 2, cv2.LINE_AA)
    angle = np.abs(np.arange(COLUMNS) - FRONT) / FRONT * np.pi  # 0 in front, pi behind
    line = {"crop": 10, "short": 13, "bun": 12, "ponytail": 12, "bob": 15, "long": 14}[person.hair_style]
    side_line = {"crop": 20, "short": 27, "bun": 24, "ponytail": 25, "bob": 48, "long": 48}[person.hair_style]
    back_line = 48 if side_line == 48 else 38
    edge = np.interp(
        angle, [0.0, 0.55, 0.95, 1.5, 2.1, np.pi], [line, line + 1, line + 6, side_line, back_line, back_line]
    )
    cover = np.clip(edge[None, :] - np.arange(ROWS)[:, None], 0, 1)
    return _mix(head, person.hair_colour, cover)


def _strands(rng: np.random.Generator, colour: Colour) -> np.ndarray:
    light = cv2.GaussianBlur(
        rng.normal(1.0, 0.5, (ROWS, COLUMNS)).astype(np.float32), (0, 0), sigmaX=0.8, sigmaY=9
    )
    return colour * np.clip(light, 0.6, 1.7)[..., None]


def _bag(rng: np.random.Generator, person: Person) -> np.ndarray:
    """Flap, pocket and seams; the front of the cloth is the bag's outer face."""
    bag = _uniform(person.carried)
    trim = _plain(person.carried_trim)
    flap = int(rng.uniform(10, 22))
    cv2.rectangle(bag, (0, flap), (COLUMNS, flap + 1), _plain(person.carried * 0.6), -1)
    if rng.random() < 0.6:
        wide, top = int(rng.uniform(9, 22)), int(rng.uniform(22, 30))
        cv2.rectangle(bag, (FRONT - wide, top), (FRONT + wide, 43), trim, -1)
    else:
        cv2.line(bag, (FRONT - 16, 8), (FRONT - 16, 46), trim, 2, cv2.LINE_AA)
        cv2.line(bag, (FRONT + 16, 8), (FRONT + 16, 46), trim, 2, cv2.LINE_AA)
    return bag


def _plain(colour: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (float(x) for x in colour)
    return red, green, blue
