"""Conditions on a gallery's columns as expressions of Milvus.

A condition is true or false of every row; Milvus knows a third answer where a cell is empty. `not` is therefore carried down
to the comparisons, each of which says what holds for an empty cell.
"""

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np

from reid_lightning.inference.gallery.attributes import Wish
from reid_lightning.inference.gallery.columns import FIXED, PROBABILITIES
from reid_lightning.inference.gallery.conditions import (
    All,
    Anyone,
    Comparison,
    Condition,
    Empty,
    Not,
    Older,
    OneOf,
    Value,
)

EVERYTHING, NOTHING = "id >= 0", "id < 0"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def key(column: str) -> str:
    """Return the name under which Milvus holds a column; nothing of a foreign name reaches an expression as it is.

    Examples:
        >>> key("camera_id"), key("height"), key("upper color")
        ('camera_id', 'c_height', 'x_757070657220636f6c6f72')
    """
    if column in FIXED or column == PROBABILITIES:
        return column
    if set(column) <= _PLAIN:
        return f"c_{column}"
    return f"x_{column.encode().hex()}"


def microseconds(time: datetime) -> int:
    """Return a time as Milvus holds it, in microseconds since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def expression(condition: Condition | None, holds: bool = True) -> str:
    """Return a condition in Milvus's language.

    Args:
        condition: None: every image.
        holds: False for the images that do not fulfill it.

    Examples:
        >>> print(expression(Not(All((Comparison("camera_id", "==", "c1"), Comparison("height", ">", 1.5))))))
        (((camera_id is null) or camera_id != "c1") or ((not exists $meta["c_height"]) or $meta["c_height"] <= 1.5))
    """
    if condition is None:
        return EVERYTHING
    if isinstance(condition, Not):
        return expression(condition.of, not holds)
    if isinstance(condition, All | Anyone):
        word = " and " if isinstance(condition, All) == holds else " or "
        return f"({word.join(expression(part, holds) for part in condition.of)})"
    if isinstance(condition, Empty):
        return _empty(condition.column, holds)
    if isinstance(condition, Comparison):
        sign = condition.sign if holds else _OPPOSITE[condition.sign]
        # What holds for an empty cell is `!=`, or that no other comparison does.
        return _compared(condition.column, sign, condition.value, (condition.sign == "!=") == holds)
    if isinstance(condition, OneOf):
        parts = tuple(Comparison(condition.column, "==", value) for value in condition.values)
        return expression(Anyone(parts), holds)
    if isinstance(condition, Older):
        taken, added = (Comparison(name, "<", condition.time) for name in ("time", "added"))
        return expression(Anyone((taken, All((Empty("time"), added)))), holds)
    if isinstance(condition, Wish):
        return _wished(condition, holds)
    raise TypeError(f"{type(condition).__name__} is not a condition that Milvus knows")


def quoted(text: str) -> str:
    """Return a text as a literal; what is not printable ASCII is written as it is, as UTF-8."""
    return json.dumps(text, ensure_ascii=False)


def _field(column: str) -> str:
    return key(column) if column in FIXED else f'$meta["{key(column)}"]'


def _empty(column: str, holds: bool) -> str:
    if column in FIXED:
        return f"({_field(column)} is {'' if holds else 'not '}null)"
    return f"({'not ' if holds else ''}exists {_field(column)})"


def _compared(column: str, sign: str, value: Value, for_empty: bool) -> str:
    field = _field(column)
    if FIXED.get(column) == "integer" and isinstance(value, float):
        test = _of_whole_numbers(field, sign, value)
    else:
        test = f"{field} {sign} {_literal(value)}"
    return f"({_empty(column, True)} or {test})" if for_empty else test


def _of_whole_numbers(field: str, sign: str, value: float) -> str:
    """Return the comparison of whole numbers with one that has a fraction."""
    if value.is_integer() and abs(value) < 2**63:
        return f"{field} {sign} {int(value)}"
    if sign in ("==", "!="):
        return NOTHING if sign == "==" else f"({field} is not null)"
    if abs(value) >= 2**63:
        return f"({field} is not null)" if (value > 0) == (sign[0] == "<") else NOTHING
    return f"{field} <= {math.floor(value)}" if sign[0] == "<" else f"{field} >= {math.ceil(value)}"


def _literal(value: Value) -> str:
    if isinstance(value, datetime):
        return str(microseconds(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value) if isinstance(value, str) else repr(value)


def _wished(wish: Wish, holds: bool) -> str:
    """Every wanted class has at least the wanted probability; an image that was never asked has none."""
    if wish.least is None:
        return EVERYTHING if holds else NOTHING
    least = float(np.float32(wish.least))
    places = [
        wish.schema.slices[wish.schema.names.index(name)].start + code for name, code in wish.wanted.items()
    ]
    known = f"({PROBABILITIES} is not null)"
    tests = " and ".join(f"{PROBABILITIES}[{place}] >= {least!r}" for place in places)
    if holds:
        return f"({known} and {tests})"
    others = " or ".join(f"{PROBABILITIES}[{place}] < {least!r}" for place in places)
    return f"(({PROBABILITIES} is null) or {others})"
