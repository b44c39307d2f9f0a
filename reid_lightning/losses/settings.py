"""Checks that the losses' settings share."""

from reid_lightning.errors import InputError


def at_least(key: str, value: float, smallest: float) -> float:
    """Return a setting that is large enough.

    Raises:
        InputError: It is smaller; the message names the key.

    Examples:
        >>> at_least("loss.triplet.margin", 0.3, 0)
        0.3
    """
    if not value >= smallest:
        raise InputError(f"{key}={value} is too small; choose {smallest:g} or more.")
    return value
