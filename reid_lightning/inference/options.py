"""Checks of options before any work, in the option's own name."""

import difflib
from collections.abc import Sequence

from reid_lightning.errors import InputError


def require_option(option: str, holds: bool, wanted: str, value: object) -> None:
    """Refuse an option that is out of range.

    Args:
        option: Its name, such as "--k".
        holds: Whether it is in range.
        wanted: What it must be or do, such as "be 1 or more".
        value: What was given.

    Raises:
        InputError: It is out of range.
    """
    if not holds:
        raise InputError(f"{option} must {wanted}, got {value}.")


def require_choice(option: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a choice that an option does not have, and name the nearest one.

    Raises:
        InputError: The choice is unknown.

    Examples:
        >>> require_choice("--rule", "som", ("sum", "product"))
        Traceback (most recent call last):
        ...
        reid_lightning.errors.InputError: --rule som is unknown; choose one of sum, product (the nearest is sum).
    """
    if value not in choices:
        near = difflib.get_close_matches(value, choices, 1)
        nearest = f" (the nearest is {near[0]})" if near else ""
        raise InputError(f"{option} {value} is unknown; choose one of {', '.join(choices)}{nearest}.")
