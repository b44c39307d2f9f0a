"""Conditions on the columns of a gallery, computed for all rows at once by Arrow."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reid_lightning.inference.gallery.columns import KINDS

Value = str | int | float | bool | datetime
Mask = NDArray[np.bool_]

_TRUE_FALSE = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_COMPUTE: dict[str, Callable[..., Any]] = {
    "==": pc.equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
}  # fmt: skip


class Condition(Protocol):
    """What a row fulfills or does not."""

    def mask(self, table: pa.Table) -> Mask:
        """Return which rows fulfill it, (N,)."""


@dataclass(frozen=True)
class Comparison:
    """A column compared with a value; nothing but `!=` holds for an empty cell."""

    column: str
    sign: str
    value: Value

    def mask(self, table: pa.Table) -> Mask:
        """Return which rows fulfill it, (N,)."""
        sign = "==" if self.sign == "!=" else self.sign
        found = _truth(_COMPUTE[sign](table[self.column], _scalar(self.value)))
        return ~found if self.sign == "!=" else found


@dataclass(frozen=True)
class OneOf:
    """A column whose value is one of several."""

    column: str
    values: tuple[Value, ...]

    def mask(self, table: pa.Table) -> Mask:
        """Return which rows fulfill it, (N,)."""
        return Anyone(tuple(Comparison(self.column, "==", value) for value in self.values)).mask(table)


@dataclass(frozen=True)
class Empty:
    """A column that is empty."""

    column: str

    def mask(self, table: pa.Table) -> Mask:
        """Return which rows fulfill it, (N,)."""
        return _truth(pc.is_null(table[self.column]))


@dataclass(frozen=True)
class Not:
    """What does not hold."""

    of: Condition

    def mask(self, table: pa.Table) -> Mask:
        """Return which rows fulfill it, (N,)."""
        return ~self.of.mask(table)


@dataclass(frozen=True)
class All:
    """Conditions that all hold."""

    of: tuple[Condition, ...]

    def mask(self, table: pa.Table) -> Mask:
        """Return which rows fulfill it, (N,)."""
        return reduce(np.logical_and, (condition.mask(table) for condition in self.of))


@dataclass(frozen=True)
class Anyone:
    """Conditions of which one holds or more."""

    of: tuple[Condition, ...]

    def mask(self, table: pa.Table) -> Mask:
        """Return which rows fulfill it, (N,)."""
        return reduce(np.logical_or, (condition.mask(table) for condition in self.of))


def read_value(text: str, kind: str) -> Value:
    """Return what a word means in a column of a kind.

    Raises:
        ValueError: It means nothing there; the message says what the column holds.

    Examples:
        >>> read_value("2026-11-27", "time"), read_value("7", "text"), read_value("7", "integer")
        (datetime.datetime(2026, 11, 27, 0, 0, tzinfo=datetime.timezone.utc), '7', 7)
    """
    if kind == "text":
        return text
    if kind == "truth":
        if text.lower() not in _TRUE_FALSE:
            raise ValueError("true or false")
        return _TRUE_FALSE[text.lower()]
    if kind == "time":
        try:
            time = datetime.fromisoformat(text)
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValueError("times such as 2026-11-27 or 2026-11-27T12:30") from None
    try:
        if text.lstrip("+-").isascii() and text.lstrip("+-").isdigit() and abs(int(text)) < 2**63:
            return int(text)
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or "_" in text:
        raise ValueError("numbers")
    return number


def _scalar(value: Value) -> Any:
    return pa.scalar(value, KINDS["time"]) if isinstance(value, datetime) else pa.scalar(value)


def _truth(values: Any) -> Mask:
    """Return Arrow's truth as a mask; what is not known does not hold."""
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), bool)


@dataclass(frozen=True)
class Older:
    """An image that was taken, or where that is not known was added, before a time."""

    time: datetime

    def mask(self, table: pa.Table) -> Mask:
        """Return which rows fulfill it, (N,)."""
        taken = pc.coalesce(table["time"], table["added"])
        return _truth(pc.less(taken, _scalar(self.time)))


def older_than(time: datetime) -> Condition:
    """Return the condition that an image was taken, or where that is not known was added, before a time."""
    return Older(time)
