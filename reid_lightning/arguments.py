"""Arguments of public functions, checked for their type: a wrong one is a sentence that names it, and not a `TypeError`.

Every check returns the value in the type that is worked with; each raises `InputError`, which is a `ValueError`.
"""

import operator
import os
from collections.abc import Iterable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from reid_lightning.errors import InputError

_SHOWN = 60  # characters of a wrong value


def as_number(value: Any, name: str) -> float:
    """Return a number as a float; NaN and infinity are numbers, and for the range to refuse.

    Args:
        value: What was given.
        name: What the message calls it.

    Raises:
        InputError: It is not a number.

    Examples:
        >>> as_number("a", "The weight of attributes")
        Traceback (most recent call last):
        ...
        reid_lightning.errors.InputError: The weight of attributes must be a number, got 'a'.
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise InputError(f"{name} must be a number, got {shown(value)}.")


def as_whole(value: Any, name: str, least: int) -> int:
    """Return a whole number that is not below the least.

    Raises:
        InputError: It is something else.
    """
    wanted = f"{name} must be a whole number, {least} or more, got {shown(value)}."
    if isinstance(value, bool):
        raise InputError(wanted)
    try:
        number = operator.index(value)
    except TypeError:
        raise InputError(wanted) from None
    if not least <= number < 2**63:
        raise InputError(wanted)
    return number


def as_text(value: Any, name: str) -> str:
    """Return text.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, got {shown(value)}.")
    return str(value)


def as_texts(value: Any, name: str) -> list[str]:
    """Return several texts, which stand in any iterable but a text.

    Raises:
        InputError: They are something else.
    """
    wanted = f"{name} must be several texts, such as a list, got {shown(value)}."
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InputError(wanted)
    try:
        texts = list(value)
    except TypeError:  # an array of no dimension
        raise InputError(wanted) from None
    for place, text in enumerate(texts):
        as_text(text, f"{name}[{place}]")
    return [str(text) for text in texts]


def as_flag(value: Any, name: str) -> bool:
    """Return whether a switch is on.

    Raises:
        InputError: It is neither true nor false.
    """
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):  # NumPy's, too
        return bool(value)
    raise InputError(f"{name} must be True or False, got {shown(value)}.")


def as_path(value: Any, name: str) -> Path:
    """Return a file's or folder's path.

    Raises:
        InputError: It is not a path.
    """
    if isinstance(value, str | os.PathLike):
        path = os.fspath(value)
        if isinstance(path, str) and path and "\0" not in path:
            return Path(path)
    raise InputError(f"{name} must be a path, got {shown(value)}.")


def as_choice(value: Any, name: str, choices: Sequence[str]) -> str:
    """Return one of several choices.

    Raises:
        InputError: It is not one of them.
    """
    if isinstance(value, str) and value in choices:
        return value
    given = value if isinstance(value, str) else shown(value)
    raise InputError(f"{name} {given} is unknown; choose one of {', '.join(choices)}.")


def shown(value: Any) -> str:
    """Return a wrong value as a message shows it: plain values as they are written, others by their type.

    Examples:
        >>> shown("a"), shown([1]), shown(None)
        ("'a'", 'a list', 'None')
    """
    if value is None or isinstance(value, str | bytes | bool | int | float | complex):
        try:
            text = repr(value)
        except ValueError:  # a whole number of more digits than Python writes
            text = "a huge number"
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."
    name = type(value).__name__
    return f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name}"
