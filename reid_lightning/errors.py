"""The exception that speaks to the user, and how a class refuses an argument in its own words."""


class InputError(ValueError):
    """Something the user gave (a file, a folder, a config value) cannot be used.

    The message is one sentence that names the file, row or config key and says what to do. The command
    line prints it alone, without a traceback, and exits with a code that is not 0.
    """


def require(holds: bool, name: str, wanted: str, value: object) -> None:
    """Refuse an argument that is not what it must be.

    Args:
        holds: Whether it is.
        name: The argument's name, which the message begins with: who builds from a config puts the key in front.
        wanted: What it must be.
        value: What was given.

    Raises:
        ValueError: It is not.

    Examples:
        >>> require(-1 >= 0, "margin", ">= 0", -1)
        Traceback (most recent call last):
        ...
        ValueError: margin must be >= 0, got -1
    """
    if not holds:
        raise ValueError(f"{name} must be {wanted}, got {value}")
