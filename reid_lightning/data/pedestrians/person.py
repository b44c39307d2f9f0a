"""Who a drawn person is: attributes as frequent as in Market-1501, build, colors and carried things."""

from dataclasses import dataclass

import numpy as np

from reid_lightning.data.attributes import MARKET12

_CODES = {attribute.name: attribute.classes for attribute in MARKET12}

# Share of each upper and lower color by gender (male, female); what is left to 1 is the class "multiple". Counted in
# Lin et al.'s annotation of Market-1501, as are all frequencies in this module.
_UPPER_SHARES = {
    "black": (0.156, 0.137),
    "white": (0.253, 0.338),
    "red": (0.086, 0.123),
    "purple": (0.037, 0.035),
    "yellow": (0.070, 0.058),
    "gray": (0.155, 0.093),
    "blue": (0.088, 0.037),
    "green": (0.066, 0.069),
}
_LOWER_SHARES = {
    "black": (0.432, 0.328),
    "white": (0.046, 0.105),
    "pink": (0.007, 0.066),
    "purple": (0.000, 0.003),
    "yellow": (0.000, 0.017),
    "gray": (0.222, 0.093),
    "blue": (0.160, 0.216),
    "green": (0.014, 0.034),
    "brown": (0.095, 0.056),
}
_DRESS_SHARE = 0.30  # of women; a quarter of the dresses are one piece here
_CARRIED_SHARES = {  # at most one of the three, by gender
    "backpack": (0.297, 0.206),
    "bag": (0.155, 0.364),
    "handbag": (0.086, 0.136),
}
_AGE_SHARES = (0.011, 0.805, 0.175, 0.009)

_SHOE_SHARES = {"black": 0.3, "white": 0.25, "brown": 0.15, "gray": 0.12, "blue": 0.1, "red": 0.08}
_CARRIED_COLOURS = {
    "black": 0.45, "gray": 0.12, "blue": 0.11, "red": 0.08, "brown": 0.1, "white": 0.06, "green": 0.04, "pink": 0.04,
}  # fmt: skip

# Hue (degrees), saturation and value of the named colors, each from a range: people share a color's name and
# differ in its shade.
_SHADES = {
    "black": ((0, 360), (0.00, 0.30), (0.05, 0.17)),
    "white": ((0, 360), (0.00, 0.07), (0.84, 1.00)),
    "red": ((-14, 10), (0.60, 0.92), (0.48, 0.85)),
    "purple": ((262, 312), (0.30, 0.65), (0.34, 0.65)),
    "yellow": ((40, 58), (0.50, 0.90), (0.72, 0.95)),
    "gray": ((0, 360), (0.00, 0.12), (0.32, 0.62)),
    "blue": ((196, 236), (0.40, 0.85), (0.28, 0.80)),
    "green": ((85, 168), (0.28, 0.75), (0.28, 0.66)),
    "pink": ((328, 352), (0.25, 0.55), (0.78, 0.95)),
    "brown": ((18, 36), (0.28, 0.60), (0.28, 0.66)),
}

_CENTIMETERS = 170.0  # body height of a person of stature 1
# Years of each class of `age`: from, below. Lin et al. say no years; most of their "teenagers" may be students.
_YEARS = {"young": (5.0, 13.0), "teenager": (13.0, 20.0), "adult": (20.0, 60.0), "old": (60.0, 85.0)}
_ADULT_STATURE, _CHILD_STATURE = (0.82, 1.14), 0.8  # range; a child's relative to it
_OLD_GRAY = (0.55, 0.85)  # gray of an old person's hair

Colour = np.ndarray  # (3,) float32, red, green and blue in 0..1


@dataclass(frozen=True)
class Person:
    """One identity. Lengths are fractions of the body height, colors are RGB in 0..1.

    Attributes:
        attributes: Class codes of `MARKET12` by name.
        stature: Height relative to the other people.
        shoulder: Half width at the shoulders.
        waist: Waist relative to the shoulders.
        hip: Half width at the hips.
        depth: Half depth of the trunk.
        limb: Thickness of arms and legs relative to the average.
        head: Height of the head.
        leg: Height of the hip joint.
        stride: Largest angle of the thigh when walking, in radians.
        skin: Skin color.
        hair_colour: Color of the hair.
        hair_style: crop, short, bob, long, ponytail or bun.
        hat_style: cap or brim; read only with a hat.
        upper: Main, second and third color of the upper clothing.
        lower: Main, second and third color of the lower clothing.
        upper_pattern: Name of a pattern in `clothes`.
        lower_pattern: Name of a pattern in `clothes`.
        sleeve: Length of the sleeve, 0 at the shoulder, 1 at the elbow, 2 at the wrist.
        hem: Length of the lower clothing, 0 at the hip, 1 at the knee, 2 at the ankle.
        loose: Width of the lower clothing over the leg's.
        one_piece: A dress whose lower part continues the upper one.
        shoes: Color of the shoes.
        socks: Height of the socks up the shin, 0 for none.
        carried: Color of the backpack, bag or handbag.
        carried_trim: Color of its pocket and straps.
        carried_size: Size of it relative to the average.
        side: +1 carries on the left, -1 on the right.
        pattern_seed: Seed of the clothes' patterns.
    """

    attributes: dict[str, int]
    stature: float
    shoulder: float
    waist: float
    hip: float
    depth: float
    limb: float
    head: float
    leg: float
    stride: float
    skin: Colour
    hair_colour: Colour
    hair_style: str
    hat_style: str
    upper: tuple[Colour, Colour, Colour]
    lower: tuple[Colour, Colour, Colour]
    upper_pattern: str
    lower_pattern: str
    sleeve: float
    hem: float
    loose: float
    one_piece: bool
    shoes: Colour
    socks: float
    carried: Colour
    carried_trim: Colour
    carried_size: float
    side: int
    pattern_seed: int

    def wears(self, name: str) -> bool:
        """Tell whether a yes-no attribute (hat, backpack, bag, handbag) is yes."""
        return self.attributes[name] == 1

    @property
    def wears_skirt(self) -> bool:
        """Tell whether the lower clothing is a dress or a skirt."""
        return self.attributes["clothes"] == 0

    @property
    def height(self) -> float:
        """Body height in centimeters. It decides how large the figure is drawn: a box is fitted to it loosely."""
        return _CENTIMETERS * self.stature

    @property
    def age_years(self) -> float:
        """Age in years, within the class of the attribute `age`.

        It shows in a child's height and in how white the hair of the old is; within the other classes nothing shows it.
        """
        name = _CODES["age"][self.attributes["age"]]
        if name == "young":
            place = _place(self.stature / _CHILD_STATURE, _ADULT_STATURE)
        elif name == "old":
            place = _place(float(self.hair_colour[0]), _OLD_GRAY)
        else:
            place = self.pattern_seed / 2**31  # a draw that is there already, so that no stream shifts
        low, high = _YEARS[name]
        return low + (high - low) * min(max(place, 0.0), 1.0 - 2.0**-31)


def sample_person(rng: np.random.Generator) -> Person:
    """Draw one identity: attributes first, with their real frequencies, then all that they leave open."""
    codes, names = _sample_attributes(rng)
    female = codes["gender"] == 1
    child = names["age"] == "young"
    stout = float(np.clip(rng.normal(1.0, 0.11), 0.78, 1.32))
    skirt = names["clothes"] == "dress"
    short = names["down"] == "short"
    one_piece = skirt and rng.random() < 0.45
    return Person(
        attributes=codes,
        stature=float(np.clip(rng.normal(0.95 if female else 1.03, 0.045), *_ADULT_STATURE))
        * (_CHILD_STATURE if child else 1.0),
        shoulder=(0.100 if female else 0.115) * float(rng.uniform(0.93, 1.06)) * stout,
        waist=float(rng.uniform(0.66, 0.86) if female else rng.uniform(0.78, 0.98)),
        hip=(0.092 if female else 0.088) * float(rng.uniform(0.93, 1.07)) * stout,
        depth=0.066 * float(rng.uniform(0.9, 1.15)) * stout,
        limb=float(rng.uniform(0.88, 1.1)) * (0.92 if female else 1.05) * stout**0.7,
        head=float(rng.uniform(0.126, 0.142)) * (1.15 if child else 1.0),
        leg=float(rng.uniform(0.485, 0.53)),
        stride=float(rng.uniform(0.3, 0.52)),
        skin=_skin(rng),
        hair_colour=_hair_colour(rng, names["age"]),
        hair_style=_hair_style(rng, female, names["hair"]),
        hat_style=str(rng.choice(["cap", "brim"], p=[0.6, 0.4])),
        upper=_colours(rng, names["upper_color"], _UPPER_SHARES),
        lower=_colours(rng, names["lower_color"], _LOWER_SHARES),
        upper_pattern=_upper_pattern(rng, names["upper_color"]),
        lower_pattern=_lower_pattern(rng, names["lower_color"], skirt, short),
        sleeve=float(
            rng.uniform(1.75, 2.0) if names["up"] == "long" else rng.uniform(0.08 if female else 0.45, 1.0)
        ),
        hem=_hem(rng, short, skirt),
        loose=float(rng.uniform(1.05, 1.2) if not short and female else rng.uniform(1.1, 1.42)),
        one_piece=one_piece,
        shoes=sample_colour(rng, _choice(rng, _SHOE_SHARES)),
        socks=float(rng.choice([0.0, 0.1, 0.22, 0.4], p=[0.5, 0.25, 0.15, 0.1])),
        carried=sample_colour(rng, _choice(rng, _CARRIED_COLOURS)),
        carried_trim=sample_colour(rng, str(rng.choice(["black", "gray", "white", "red", "yellow", "blue"]))),
        carried_size=float(rng.uniform(0.82, 1.22)),
        side=1 if rng.random() < 0.5 else -1,
        pattern_seed=int(rng.integers(2**31)),
    )


def sample_colour(rng: np.random.Generator, name: str) -> Colour:
    """Draw one shade of a named color."""
    (low_hue, high_hue), saturation, value = _SHADES[name]
    return _rgb(rng.uniform(low_hue, high_hue) / 60.0, rng.uniform(*saturation), rng.uniform(*value))


def _sample_attributes(rng: np.random.Generator) -> tuple[dict[str, int], dict[str, str]]:
    female = int(rng.random() < 0.437)
    dress = female and rng.random() < _DRESS_SHARE
    short = rng.random() < (0.87 if dress else 0.614 if female else 0.582)
    carried = _choose(rng, _CARRIED_SHARES, female, "nothing")
    names = {
        "gender": "female" if female else "male",
        "hair": "long" if rng.random() < (0.785 if female else 0.006) else "short",
        "up": "short" if rng.random() < (0.907 if female else 0.973) else "long",
        "down": "short" if short else "long",
        "clothes": "dress" if dress else "pants",
        "hat": "yes" if rng.random() < (0.043 if female else 0.018) else "no",
        "age": str(rng.choice(_CODES["age"], p=_AGE_SHARES)),
        "upper_color": _choose(rng, _UPPER_SHARES, female, "multiple"),
        "lower_color": _choose(rng, _LOWER_SHARES, female, "multiple"),
    } | {name: "yes" if carried == name else "no" for name in _CARRIED_SHARES}
    return {name: _CODES[name].index(names[name]) for name in _CODES}, names


def _choose(
    rng: np.random.Generator, shares: dict[str, tuple[float, float]], female: int, otherwise: str
) -> str:
    point = rng.random()
    for name, by_gender in shares.items():
        point -= by_gender[female]
        if point < 0:
            return name
    return otherwise


def _choice(rng: np.random.Generator, shares: dict[str, float]) -> str:
    return str(rng.choice(list(shares), p=list(shares.values())))


def _place(value: float, span: tuple[float, float]) -> float:
    """Return where a value lies between the ends of a range, 0 to 1."""
    return (value - span[0]) / (span[1] - span[0])


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    """Hue in sixths of the circle."""
    parts = [
        value - value * saturation * max(0.0, min(k, 4 - k, 1)) for k in ((n + hue) % 6 for n in (5, 3, 1))
    ]
    return np.asarray(parts, np.float32)


def _skin(rng: np.random.Generator) -> Colour:
    tone = float(np.clip(rng.beta(2.0, 3.5), 0.0, 1.0))
    light, dark = np.asarray([0.93, 0.76, 0.65]), np.asarray([0.42, 0.27, 0.19])
    return (light + tone * (dark - light)).astype(np.float32)


def _hair_colour(rng: np.random.Generator, age: str) -> Colour:
    if age == "old":
        return np.full(3, rng.uniform(*_OLD_GRAY), np.float32)
    kind = rng.random()
    if kind < 0.72:
        return np.asarray([0.09, 0.07, 0.06], np.float32) * np.float32(rng.uniform(0.6, 1.7))
    if kind < 0.93:
        return np.asarray([0.33, 0.20, 0.11], np.float32) * np.float32(rng.uniform(0.6, 1.25))
    return np.asarray([0.68, 0.50, 0.28], np.float32) * np.float32(rng.uniform(0.8, 1.1))


def _hair_style(rng: np.random.Generator, female: bool, hair: str) -> str:
    if hair == "long":
        return str(rng.choice(["long", "ponytail", "bob"], p=[0.5, 0.35, 0.15]))
    return str(rng.choice(["bun", "short"]) if female else rng.choice(["crop", "short"]))


def _colours(
    rng: np.random.Generator, name: str, shares: dict[str, tuple[float, float]]
) -> tuple[Colour, Colour, Colour]:
    others = [str(rng.choice(list(shares))) for _ in range(2)]
    main = str(rng.choice(list(shares))) if name == "multiple" else name
    return sample_colour(rng, main), sample_colour(rng, others[0]), sample_colour(rng, others[1])


def _upper_pattern(rng: np.random.Generator, colour: str) -> str:
    if colour == "multiple":
        return str(rng.choice(["wide_stripes", "checks", "blocks", "flowers", "bars"]))
    names = ["plain", "print", "logo", "stripes", "checks", "gradient", "blocks", "dots", "bars", "open"]
    return str(rng.choice(names, p=[0.48, 0.17, 0.1, 0.06, 0.05, 0.03, 0.03, 0.02, 0.02, 0.04]))


def _lower_pattern(rng: np.random.Generator, colour: str, skirt: bool, short: bool) -> str:
    if colour == "multiple":
        return str(rng.choice(["checks", "flowers", "wide_stripes"]))
    if skirt:
        return str(rng.choice(["plain", "flowers", "dots", "hem", "checks"], p=[0.5, 0.15, 0.1, 0.15, 0.1]))
    if short:
        return str(rng.choice(["plain", "seam", "checks", "hem"], p=[0.68, 0.14, 0.1, 0.08]))
    return str(rng.choice(["plain", "seam", "faded"], p=[0.6, 0.12, 0.28]))


def _hem(rng: np.random.Generator, short: bool, skirt: bool) -> float:
    if skirt:
        return float(rng.uniform(0.62, 1.08) if short else rng.uniform(1.35, 1.85))
    return float(rng.uniform(0.42, 1.12) if short else rng.uniform(1.86, 2.0))
