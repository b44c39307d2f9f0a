"""What a setting may be: kinds and ranges, for the rows of `schema.py`, and how a wrong value is reported."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Values:
    """The values that a setting may have.

    Attributes:
        wanted: Completes "KEY must be ...".
        holds: Whether a value is one of them.
    """

    wanted: str
    holds: Callable[[Any], bool]

    def refusal(self, key: str, value: Any) -> str | None:
        """Return the sentence that refuses a value; None where it is allowed.

        Examples:
            >>> number(above=0).refusal("optimizer.lr", float("nan"))
            'optimizer.lr must be a number > 0, got nan'
            >>> whole(1, null=True).refusal("evaluation.single_shot", None)
        """
        return None if self.holds(value) else f"{key} must be {self.wanted}, got {written(value)}"


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number; true and false are not."""
    return type(value) is int


def number(
    least: float | None = None,
    most: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    null: bool = False,
    words: tuple[str, ...] = (),
) -> Values:
    """Return the finite numbers within bounds.

    Args:
        least: Smallest.
        most: Largest.
        above: Bound that is not reached itself.
        below: Likewise, on the other side.
        null: Whether null is allowed too.
        words: Texts that are allowed too.
    """
    return _within(is_number, "a number", least, most, above, below, null, words)


def whole(
    least: int | None = None,
    most: int | None = None,
    *,
    null: bool = False,
    words: tuple[str, ...] = (),
) -> Values:
    """Return the whole numbers within bounds, both included; see `number`."""
    return _within(is_whole, "a whole number", least, most, None, None, null, words)


def flag() -> Values:
    """Return true and false, which 1 and 0 stand for as well."""
    return Values(
        "true or false", lambda value: isinstance(value, bool) or (is_whole(value) and value in (0, 1))
    )


def text(null: bool = False) -> Values:
    """Return texts that are not empty, such as names and paths."""
    return Values(
        _or("text", ["null"] if null else []),
        lambda value: (isinstance(value, str) and value != "") or (null and value is None),
    )


def one_of(*words: str, null: bool = False) -> Values:
    """Return some words."""
    *others, last = [*words, *(["null"] if null else [])]
    wanted = f"{', '.join(others)} or {last}" if others else last
    return Values(
        wanted, lambda value: (value is None and null) or (isinstance(value, str) and value in words)
    )


def devices(most: int = 4096) -> Values:
    """Return what Lightning takes as a number of processes or as a list of devices."""

    def holds(value: Any) -> bool:
        if isinstance(value, str):
            return value == "auto" or bool(re.fullmatch(r"-1|\d+(,\d*)*", value))
        if isinstance(value, list | tuple):
            return bool(value) and all(is_whole(one) and one >= 0 for one in value)
        return is_whole(value) and (value == -1 or 1 <= value <= most)

    return Values(f"a whole number from 1 to {most}, auto, or a list of devices such as [0,1]", holds)


def image_size(least: int, most: int) -> Values:
    """Return heights and widths in pixels, both within bounds."""
    return Values(
        f"a height and a width in pixels, each a whole number from {least} to {most}, such as [256,128]",
        lambda value: (
            isinstance(value, list | tuple)
            and len(value) == 2
            and all(is_whole(side) and least <= side <= most for side in value)
        ),
    )


def node(null: bool = False) -> Values:
    """Return nodes that name what they build."""
    return Values(
        _or("a node with a _target_", ["null"] if null else []),
        lambda value: (isinstance(value, Mapping) and "_target_" in value) or (null and value is None),
    )


def nodes() -> Values:
    """Return lists of nodes that name what they build."""
    return Values(
        "a list of nodes with a _target_ each",
        lambda value: isinstance(value, list | tuple) and all(map(node().holds, value)),
    )


def mapping(null: bool = False, filled: bool = False) -> Values:
    """Return nodes of settings or of further nodes, by their names."""
    return Values(
        "a node that is not empty" if filled else _or("a node", ["null"] if null else []),
        lambda value: (isinstance(value, Mapping) and bool(value or not filled)) or (null and value is None),
    )


def written(value: Any) -> str:
    """Return a value as it is written on the command line.

    Examples:
        >>> written(None), written(True), written([1, "a"])
        ('null', 'true', '[1,a]')
    """
    if isinstance(value, list | tuple):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{written(item)}' for key, item in value.items())}}}"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def _within(
    fits: Callable[[Any], bool],
    kind: str,
    least: float | None,
    most: float | None,
    above: float | None,
    below: float | None,
    null: bool,
    words: tuple[str, ...],
) -> Values:
    def holds(value: Any) -> bool:
        if value is None or isinstance(value, str):
            return null if value is None else value in words
        return (
            fits(value)
            and (least is None or value >= least)
            and (most is None or value <= most)
            and (above is None or value > above)
            and (below is None or value < below)
        )

    lower, upper = _bound(">=", least, ">", above), _bound("<=", most, "<", below)
    wanted = " ".join(filter(None, (kind, " and ".join(filter(None, (lower, upper))))))
    return Values(_or(wanted, [*words, *(["null"] if null else [])]), holds)


def _bound(closed: str, least: float | None, opened: str, above: float | None) -> str:
    return f"{closed} {least}" if least is not None else f"{opened} {above}" if above is not None else ""


def _or(wanted: str, others: list[str]) -> str:
    return f"{', '.join([wanted, *others[:-1]])} or {others[-1]}" if others else wanted
