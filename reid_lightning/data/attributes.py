"""The attributes a person image may carry: names, classes and their order in a batch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attribute:
    """One attribute of a person: its table column and the names of its classes, coded 0..k-1.

    Attributes:
        name: Column in the table; the ten direct ones are called as in Lin et al.'s `market_attribute.mat`.
        title: What a reader of a report sees.
        classes: Class names in the order of their codes.
    """

    name: str
    title: str
    classes: tuple[str, ...]


_NO_YES = ("no", "yes")

#: The 12 attributes of Market-1501 (Lin et al., "Improving Person Re-identification by Attribute and Identity
#: Learning", 2019); colours become one attribute each, whose class 0 says that no single colour is annotated.
MARKET12 = (
    Attribute("gender", "gender", ("male", "female")),
    Attribute("hair", "hair length", ("short", "long")),
    Attribute("up", "sleeve length", ("long", "short")),
    Attribute("down", "lower-body length", ("long", "short")),
    Attribute("clothes", "lower-body type", ("dress", "pants")),
    Attribute("hat", "hat", _NO_YES),
    Attribute("backpack", "backpack", _NO_YES),
    Attribute("bag", "bag", _NO_YES),
    Attribute("handbag", "handbag", _NO_YES),
    Attribute("age", "age", ("young", "teenager", "adult", "old")),
    Attribute(
        "upper_color",
        "upper-body colour",
        ("multiple", "black", "white", "red", "purple", "yellow", "gray", "blue", "green"),
    ),
    Attribute(
        "lower_color",
        "lower-body colour",
        ("multiple", "black", "white", "pink", "purple", "yellow", "gray", "blue", "green", "brown"),
    ),
)
