"""A gallery searched by what people look like: attribute words that re-order hits, filter them, or search alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.arguments import as_number, as_text
from reid_lightning.data.attributes import Attribute, AttributeSchema
from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.columns import PROBABILITIES
from reid_lightning.inference.gallery.conditions import All, Condition, Mask
from reid_lightning.retrieval.neighbours import Neighbours
from reid_lightning.systems.attributes.search import (
    attribute_agreement,
    explain_match,
    filter_gallery,
    parse_attributes,
)

SAMPLED = 1000  # images that say how much the distances of a query spread
ROUNDED = 1e-3  # by which a probability may lie above 1
MORE = 4  # times as many images are looked at where the first ones do not settle the order


@dataclass(frozen=True)
class Wish:
    """Attributes that are wished for.

    Attributes:
        wanted: Class codes by the attribute's name.
        schema: The gallery's attributes.
        weight: An image that has none of the wanted moves back by this many standard deviations of the query's distances.
        least: Images are left out where one of the wanted is less probable; None: none are.
    """

    wanted: dict[str, int]
    schema: AttributeSchema
    weight: float = 1.0
    least: float | None = None

    @classmethod
    def of(
        cls, words: str, schema: AttributeSchema | None, weight: float = 1.0, least: float | None = None
    ) -> "Wish":
        """Read attributes in words, see `parse_attributes`.

        Raises:
            InputError: The gallery holds no attributes, a word is not understood, or a number is out of range.
        """
        if schema is None:
            raise InputError(
                "The gallery holds no attributes: build it (or `reid gallery rebuild` it) with a model that was trained "
                "with attributes."
            )
        if not 0 <= as_number(weight, "The weight of attributes") < np.inf:
            raise InputError(f"The weight of attributes must be a number from 0 on, got {weight}.")
        if least is not None and not 0 < as_number(least, "The least probability of attributes") <= 1:
            raise InputError(
                f"The minimum probability of attributes must be above 0 and up to 1, got {least}."
            )
        return cls(
            parse_attributes(as_text(words, "What people are to look like"), schema), schema, weight, least
        )

    def mask(self, table: pa.Table) -> Mask:
        """Return which rows have every wanted class with at least `least`; a row that was never asked has none."""
        if self.least is None:
            return np.ones(len(table), bool)
        found = filter_gallery(self._probabilities(table), self.wanted, self.schema, self.least)
        return np.asarray(found.numpy(), bool)

    def among(self, condition: Condition | None) -> Condition | None:
        """Return the condition of the images that may be found: a given one, and `least`."""
        if self.least is None:
            return condition
        return self if condition is None else All((condition, self))

    def lacks(self, probabilities: Tensor) -> Tensor:
        """Return (N,) from 0 (has all wanted for certain) to 1: one less the geometric mean of their probabilities.

        Args:
            probabilities: (N, C).
        """
        return 1 - attribute_agreement(probabilities, self.wanted, self.schema).exp()

    def told(self, table: pa.Table) -> list[tuple[str, str]]:
        """Say of each row which of the wanted it has, and which not, in words."""
        answers = []
        for row in self._probabilities(table):
            parts: tuple[list[str], list[str]] = ([], [])
            for name, code in self.wanted.items():
                place = self.schema.names.index(name)
                attribute, block = self.schema.attributes[place], row[self.schema.slices[place]]
                best = int(block.argmax())
                known = bool(block.sum() > 0)
                parts[best != code or not known].append(phrase(attribute, best) if known else attribute.title)
            answers.append(("; ".join(parts[0]), "; ".join(parts[1])))
        return answers

    def _probabilities(self, table: pa.Table) -> Tensor:
        return torch.from_numpy(probability_matrix(table[PROBABILITIES], self.schema.num_outputs))


def phrase(attribute: Attribute, code: int) -> str:
    """Return a class of an attribute in words.

    Examples:
        >>> phrase(Attribute("hat", "hat", ("no", "yes")), 0)
        'no hat'
    """
    name = attribute.classes[code]
    if attribute.classes == ("no", "yes"):
        return attribute.title if code else f"no {attribute.title}"
    return f"{attribute.title} {name}"


def agreements(queries: Tensor, table: pa.Table, schema: AttributeSchema) -> list[tuple[str, str]]:
    """Say in words which attributes of an image each row shares, the most certain first, and which not.

    Args:
        queries: (N, C) probabilities of the image that each row is compared with.
        table: (N,) of a gallery.
        schema: Its attributes.
    """
    answers = []
    found = torch.from_numpy(probability_matrix(table[PROBABILITIES], schema.num_outputs))
    for query, row in zip(queries, found, strict=True):
        parts: tuple[list[str], list[str]] = ([], [])
        for line in explain_match(query, row, schema) if row.sum() > 0 else ():
            named = (
                f"{line.name} {line.gallery}"
                if line.agrees
                else f"{line.name} {line.gallery}, not {line.query}"
            )
            parts[not line.agrees].append(named)
        answers.append(("; ".join(parts[0]), "; ".join(parts[1])))
    return answers


def probability_matrix(column: pa.ChunkedArray, outputs: int) -> NDArray[np.float32]:
    """Return a column of probabilities as (N, C); zeros where a row has none.

    Raises:
        InputError: A row has another number of probabilities.
    """
    lengths = pc.list_value_length(column).fill_null(0).to_numpy()
    there = lengths > 0
    values = pc.list_flatten(column).to_numpy()
    shares = np.isfinite(values).all() and not ((values < 0) | (values > 1 + ROUNDED)).any()
    if (lengths[there] != outputs).any() or not shares:
        raise InputError("The gallery's attributes are damaged: build it again from its images.")
    found = np.zeros((len(column), outputs), np.float32)
    found[there] = values.reshape(-1, outputs)
    return found


def require_probabilities(column: pd.Series, outputs: int) -> None:
    """Refuse what no attribute heads state, before a gallery holds it.

    Args:
        column: A cell per image: (C,) probabilities, or nothing.
        outputs: C.

    Raises:
        InputError: A cell is something else.
    """
    for row, cell in enumerate(column):
        if cell is None or cell is pd.NA or (isinstance(cell, float) and np.isnan(cell)):
            continue
        try:
            values = np.asarray(cell, np.float64)
        except (TypeError, ValueError, OverflowError):
            values = np.empty(0)
        if values.shape != (outputs,) or not ((values >= 0) & (values <= 1 + ROUNDED)).all():
            raise InputError(
                f"Row {row} of the table of images has {PROBABILITIES} that are not {outputs} probabilities, as of "
                "`Model.embed_with_attributes`; correct them, or leave the column out."
            )


def pushed_back(found: Neighbours, lacks: Tensor, distance: Tensor, top: int) -> Neighbours:
    """Return the best `top` images of each query, where those that lack what is wanted move back.

    Args:
        found: Of Q queries.
        lacks: (N,) of every position, from 0 to 1.
        distance: (Q,) how far an image moves that lacks all.
        top: Number of results for each image.
    """
    pushed = distance[:, None] * lacks[found.indices.clamp(min=0)]
    moved = torch.where(found.indices >= 0, found.distances + pushed, torch.inf)
    order = moved.argsort(dim=1, stable=True)[:, :top]
    return Neighbours(found.indices.gather(1, order), moved.gather(1, order))


def reordered(
    lacks: Tensor,
    positions: NDArray[np.int64],
    weight: float,
    top: int,
    distances_to: Callable[[NDArray[np.int64]], Tensor],
    search: Callable[[int], Neighbours],
) -> Neighbours:
    """Return the best `top` images of each query of all images, where those that lack what is wanted move back.

    Further images are looked at until none of the rest can come before.

    Args:
        lacks: (N,) of every position, from 0 to 1.
        positions: That may be found.
        weight: An image that lacks all moves back by this many standard deviations of the query's distances.
        top: Number of results for each image.
        distances_to: The (Q, n) distances of the queries to some positions.
        search: The nearest k positions of each query.
    """
    if not len(positions):
        return search(top)
    places = np.linspace(0, len(positions) - 1, min(SAMPLED, len(positions))).astype(int)
    far = weight * distances_to(positions[places]).std(dim=1, correction=0)
    return settled_after(
        lambda found: pushed_back(found, lacks, far, top), top, len(positions), search, len(positions)
    )


def settled_after(
    push: Callable[[Neighbours], Neighbours],
    top: int,
    count: int,
    search: Callable[[int], Neighbours],
    most: int,
) -> Neighbours:
    """Return the best images once none of those that were not looked at can come before.

    Args:
        push: Returns the best `top` of what was found.
        top: Number of results for each image.
        count: Images that may be found.
        search: The nearest k of each query.
        most: Images that are looked at at most.
    """
    looked_at = max(SAMPLED, MORE * top)
    while True:
        found = search(looked_at)
        best = push(found)
        settled = bool((best.distances[:, -1] <= found.distances[:, -1]).all())
        if settled or looked_at >= min(count, most):
            return best
        looked_at = min(MORE * looked_at, count, most)


def schema_as_dict(schema: AttributeSchema | None) -> dict[str, Any] | None:
    """Return attributes as plain values, as the manifest holds them."""
    if schema is None:
        return None
    return {
        "name": schema.name,
        "classes": {attribute.name: list(attribute.classes) for attribute in schema},
        "titles": {attribute.name: attribute.title for attribute in schema},
    }


def schema_from_dict(content: Any) -> AttributeSchema | None:
    """Return attributes of plain values, which anybody may have written.

    Raises:
        ValueError: They are none.
    """
    if content is None:
        return None
    wrong = ValueError("its attributes are not names with classes")
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise wrong
    classes, titles = content.get("classes"), content.get("titles")
    if not isinstance(classes, dict) or not isinstance(titles, dict) or set(classes) != set(titles):
        raise wrong
    if not all(isinstance(title, str) for title in titles.values()):
        raise wrong
    if not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in classes.values()
    ):
        raise wrong
    attributes = tuple(Attribute(name, titles[name], tuple(names)) for name, names in classes.items())
    return AttributeSchema(content["name"], attributes)
