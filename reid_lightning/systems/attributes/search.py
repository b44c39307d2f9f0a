"""A gallery searched by what people look like: filter, re-weight and explain matches by attributes."""

import difflib
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from reid_lightning.data.attributes import Attribute, AttributeSchema
from reid_lightning.errors import InputError

YES_NO = ("no", "yes")


def parse_attributes(text: str, schema: AttributeSchema) -> dict[str, int]:
    """Turn wanted attributes in words into class codes by attribute name.

    Parts stand between commas. A part is an attribute by name or title with one of its classes in any order ("red
    upper-body color", "upper_color=red"), an attribute of yes and no alone ("backpack", "no hat"), or a class that only
    one attribute has ("female").

    Args:
        text: Such as "female, red upper body, backpack".
        schema: The attributes to choose among.

    Raises:
        InputError: A part is not understood, fits several attributes, or contradicts another; the message names the
            nearest choices.

    Examples:
        >>> from reid_lightning.data.attributes import MARKET12
        >>> parse_attributes("red upper body, backpack, no hat, female", MARKET12)
        {'upper_color': 3, 'backpack': 1, 'hat': 0, 'gender': 1}
    """
    wanted: dict[str, int] = {}
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        found = _meanings(part, schema)
        if len(found) != 1:
            raise InputError(_not_understood(part, found, schema))
        (name, code), *_ = found.items()
        if wanted.setdefault(name, code) != code:
            raise InputError(f"{part!r} contradicts an earlier wish for {name}; name each attribute once.")
    if not wanted:
        raise InputError(f"no attribute is named; choose among {', '.join(_phrases(schema))}.")
    return wanted


def _meanings(part: str, schema: AttributeSchema) -> dict[str, int]:
    """Return every attribute that a part may mean, with its class, the most words in common only."""
    words = _words(part)
    found: dict[str, tuple[int, int]] = {}  # name -> words explained, class
    for attribute in schema:
        for code, class_name in enumerate(attribute.classes):
            class_words = _words(class_name)
            for title in (attribute.name, attribute.title):
                explained = _explained(words, class_words, _words(title), attribute, code)
                if explained > found.get(attribute.name, (0, 0))[0]:
                    found[attribute.name] = explained, code
    most = max((explained for explained, _ in found.values()), default=0)
    return {name: code for name, (explained, code) in found.items() if explained == most}


def _explained(
    words: frozenset[str], class_words: frozenset[str], title: frozenset[str], attribute: Attribute, code: int
) -> int:
    """Return how many words a class explains; 0 where a word is left over or the class is not named."""
    if attribute.classes == YES_NO:
        rest = words - {"no", "yes", "with", "without"}
        negated = bool(words & {"no", "without"})
        return len(words) if rest and rest <= title and negated == (code == 0) else 0
    if not class_words <= words:
        return 0
    rest = words - class_words
    return len(class_words) + len(rest & title) if rest <= title | {"colour", "color"} else 0


def _words(text: str) -> frozenset[str]:
    for separator in "_-=:":
        text = text.replace(separator, " ")
    return frozenset(text.lower().split())


def _phrases(schema: AttributeSchema) -> list[str]:
    return [
        attribute.title if attribute.classes == YES_NO else f"{attribute.title} {name}"
        for attribute in schema
        for name in (attribute.classes[1:] if attribute.classes == YES_NO else attribute.classes)
    ]


def _not_understood(part: str, found: Mapping[str, int], schema: AttributeSchema) -> str:
    if found:
        choices = [
            f"{name} {schema.attributes[schema.names.index(name)].classes[code]}"
            for name, code in found.items()
        ]
        return f"{part!r} may mean {' or '.join(choices)}; name the attribute."
    phrases = _phrases(schema)
    # By words first: a misspelled class leaves the attribute's own words, a misspelled attribute the class.
    near = difflib.get_close_matches(part.lower(), phrases, 3, 0.5) or sorted(
        phrases, key=lambda phrase: -len(_words(phrase) & _words(part))
    )
    return f"{part!r} names no attribute; did you mean {', '.join(near[:3])}?"


def attribute_agreement(probabilities: Tensor, wanted: Mapping[str, int], schema: AttributeSchema) -> Tensor:
    """Return the mean log probability of the wanted classes, (N,), from 0 (certain) downwards.

    Args:
        probabilities: (N, C), the softmax of each attribute's head.
        wanted: Class codes by attribute name.
        schema: The attributes, in the order of the heads.

    Examples:
        >>> schema = AttributeSchema("s", (Attribute("hat", "hat", YES_NO),))
        >>> attribute_agreement(torch.tensor([[0.0, 1.0], [0.5, 0.5]]), {"hat": 1}, schema)
        tensor([ 0.0000, -0.6931])
    """
    places = [schema.slices[schema.names.index(name)].start + code for name, code in wanted.items()]
    return probabilities[:, places].clamp(min=1e-6).log().mean(dim=1)


def filter_gallery(
    probabilities: Tensor, wanted: Mapping[str, int], schema: AttributeSchema, threshold: float = 0.5
) -> Tensor:
    """Return which gallery images have every wanted class with at least a probability, (N,) boolean.

    Args:
        probabilities: (N, C), the softmax of each attribute's head.
        wanted: Class codes by attribute name.
        schema: The attributes, in the order of the heads.
        threshold: Smallest probability of each wanted class.
    """
    places = [schema.slices[schema.names.index(name)].start + code for name, code in wanted.items()]
    return (probabilities[:, places] >= threshold).all(dim=1)


def reweight_distances(
    distances: Tensor,
    probabilities: Tensor,
    wanted: Mapping[str, int],
    schema: AttributeSchema,
    weight: float = 1.0,
) -> Tensor:
    """Push gallery images that lack wanted attributes back instead of leaving them out.

    Args:
        distances: (Q, N).
        probabilities: (N, C) of the gallery.
        wanted: Class codes by attribute name.
        schema: The attributes, in the order of the heads.
        weight: Factor of the penalty; 1 adds, for a gallery image that has none of the wanted, about as much as the
            distances of a query spread (their standard deviation).

    Returns:
        (Q, N) distances plus penalty.
    """
    penalty = -attribute_agreement(probabilities, wanted, schema)
    spread = distances.std(dim=1, keepdim=True) if distances.shape[1] > 1 else torch.zeros_like(distances)
    return distances + weight * spread * (1 - torch.exp(-penalty))[None, :]


class Explained(NamedTuple):
    """What one attribute says about a match."""

    name: str
    query: str
    """Its class on the query."""
    gallery: str
    """Its class on the gallery image."""
    agrees: bool
    confidence: float
    """Probability that both have the class that is named for them."""


def explain_match(query: Tensor, gallery: Tensor, schema: AttributeSchema) -> list[Explained]:
    """Say which attributes of two images agree and which do not, the most certain first.

    Args:
        query: (C,) probabilities of the query's heads.
        gallery: (C,) of the gallery image's.
        schema: The attributes, in the order of the heads.

    Examples:
        >>> schema = AttributeSchema("s", (Attribute("hat", "hat", YES_NO), Attribute("bag", "bag", YES_NO)))
        >>> for line in explain_match(torch.tensor([0.1, 0.9, 0.8, 0.2]), torch.tensor([0.5, 0.5, 0.1, 0.9]), schema):
        ...     print(line.name, line.query, line.gallery, line.agrees, round(line.confidence, 2))
        bag no yes False 0.72
        hat yes no False 0.45
    """
    lines = []
    for attribute, place in zip(schema, schema.slices, strict=True):
        (left, one), (right, other) = (side[place].max(dim=0) for side in (query, gallery))
        lines.append(
            Explained(
                attribute.title,
                attribute.classes[int(one)],
                attribute.classes[int(other)],
                bool(one == other),
                float(left * right),
            )
        )
    return sorted(lines, key=lambda line: -line.confidence)
