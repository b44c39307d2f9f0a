"""The attributes a person image may carry: names, classes and their order in a batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

UNKNOWN = -1  # code of a class that nobody annotated: it trains nothing and counts nowhere


@dataclass(frozen=True)
class Attribute:
    """One attribute of a person: its table column and the names of its classes, coded 0..k-1.

    Attributes:
        name: Column in the table; the ten direct ones are called as in Lin et al.'s `market_attribute.mat`.
        title: What a reader of a report sees.
        classes: Class names in the order of their codes.
        prefix: Annotation files may write the attribute as a yes-no column per class but the first, called by this
            and the class name (`upblack`); empty where they do not.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    prefix: str = ""


@dataclass(frozen=True)
class AttributeSchema:
    """The attributes of a data set, in the order of a batch's columns and of a network's outputs.

    Attributes:
        name: What the set of attributes is called.
        attributes: Its attributes.

    Raises:
        ValueError: Two attributes have one name, or one has fewer than two classes.

    Examples:
        >>> len(MARKET12), MARKET12.num_outputs, MARKET12.slices[9]
        (12, 41, slice(18, 22, None))
    """

    name: str
    attributes: tuple[Attribute, ...]

    def __post_init__(self) -> None:
        for attribute in self.attributes:
            if self.names.count(attribute.name) > 1:
                raise ValueError(f"attributes must have different names, got {attribute.name} twice")
            if len(attribute.classes) < 2 or len(set(attribute.classes)) < len(attribute.classes):
                raise ValueError(
                    f"attributes.{attribute.name} must have two or more different classes, got {list(attribute.classes)}"
                )
        if not self.attributes:
            raise ValueError("attributes must be one or more, got none")

    def __len__(self) -> int:
        return len(self.attributes)

    def __iter__(self) -> Iterator[Attribute]:
        return iter(self.attributes)

    @property
    def names(self) -> tuple[str, ...]:
        """Table columns."""
        return tuple(attribute.name for attribute in self.attributes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of classes of each attribute."""
        return tuple(len(attribute.classes) for attribute in self.attributes)

    @property
    def num_outputs(self) -> int:
        """Number of classes of all attributes together."""
        return sum(self.sizes)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Place of each attribute's classes among the outputs."""
        starts = [sum(self.sizes[:position]) for position in range(len(self))]
        return tuple(slice(start, start + size) for start, size in zip(starts, self.sizes, strict=True))


def attribute_schema(
    name: str,
    attributes: Mapping[str, Sequence[str]],
    titles: Mapping[str, str] | None = None,
    prefixes: Mapping[str, str] | None = None,
) -> AttributeSchema:
    """Make a schema as a config writes it.

    Args:
        name: What the set of attributes is called.
        attributes: Class names by attribute.
        titles: What a report calls an attribute, where that is not its name with spaces.
        prefixes: `Attribute.prefix` of attributes that annotation files write as a yes-no column per class.

    Raises:
        ValueError: An attribute has fewer than two classes, or a title or prefix belongs to none.

    Examples:
        >>> attribute_schema("mine", {"hat": ["no", "yes"], "coat_colour": ["black", "red"]}).attributes[1].title
        'coat colour'
    """
    titles, prefixes = titles or {}, prefixes or {}
    for option, named in (("titles", titles), ("prefixes", prefixes)):
        for unknown in named.keys() - attributes.keys():
            raise ValueError(f"{option} names {unknown}, which is not among {', '.join(attributes)}")
    return AttributeSchema(
        name,
        tuple(
            Attribute(
                key, titles.get(key, key.replace("_", " ")), _class_names(key, classes), prefixes.get(key, "")
            )
            for key, classes in attributes.items()
        ),
    )


def _class_names(attribute: str, classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names as a config means them: YAML reads an unquoted no or yes as false or true."""
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise ValueError(f"attributes.{attribute} must be a list of class names, got {classes}")
    words = {False: "no", True: "yes"}
    return tuple(words[name] if isinstance(name, bool) else str(name) for name in classes)


_NO_YES = ("no", "yes")

#: The 12 attributes of Market-1501 (Lin et al., "Improving Person Re-identification by Attribute and Identity
#: Learning", 2019); colors become one attribute each, whose class 0 says that no single color is annotated.
MARKET12 = AttributeSchema(
    "market12",
    (
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
            "upper-body color",
            ("multiple", "black", "white", "red", "purple", "yellow", "gray", "blue", "green"),
            prefix="up",
        ),
        Attribute(
            "lower_color",
            "lower-body color",
            ("multiple", "black", "white", "pink", "purple", "yellow", "gray", "blue", "green", "brown"),
            prefix="down",
        ),
    ),
)


def market12() -> AttributeSchema:
    """Return the 12 attributes of Market-1501, for a config to name."""
    return MARKET12
