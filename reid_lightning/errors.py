"""The exception that speaks to the user, how names are shown, and how a class refuses an argument in its own words."""

import logging
import re

_NOT_PRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class InputError(ValueError):
    """Something the user gave (a file, a folder, a config value) cannot be used.

    The message is one sentence that names the file, row or config key and says what to do. The command
    line prints it alone, without a traceback, and exits with a code that is not 0. Names in it are made printable.
    """

    def __init__(self, message: object) -> None:
        super().__init__("\n".join(printable(line) for line in str(message).split("\n")))


class DivergedError(InputError, FloatingPointError):
    """A training has gone to NaN or infinity, which its settings must prevent; what was saved before is kept."""


def printable(text: object) -> str:
    """Return text that a terminal shows and does not obey: control characters are written as escapes.

    Names of files and people may hold anything. A byte of a name that is not UTF-8 stands as `\\udcNN`, as JSON writes
    it too.

    Examples:
        >>> print(printable("a\\x1b[2Jb\\udcff"))
        a\\x1b[2Jb\\udcff
    """
    return _NOT_PRINTABLE.sub(lambda found: ascii(found[0])[1:-1], str(text))


def show_names_as_they_are(record: logging.LogRecord) -> bool:
    """Make the names in a line of the log printable, as a filter of the project's logger; every record passes."""
    record.msg = "\n".join(printable(line) for line in record.getMessage().split("\n"))
    record.args = ()
    return True


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
