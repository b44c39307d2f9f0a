"""What commands say: names of people and files are shown as they are, and nothing in them is obeyed."""

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from reid_lightning.errors import printable


def say(text: str, style: str = "", console: Console | None = None) -> None:
    """Print a line; brackets in it are no markup, and control characters are written as escapes.

    Args:
        text: One line.
        style: Of the whole line, such as "dim".
        console: Where to; None is standard error.
    """
    console = Console(stderr=True) if console is None else console
    console.print(as_it_is(text, style), highlight=False, soft_wrap=True)


def as_it_is(text: object, style: str = "") -> Text:
    """Return a name for a table or a line of rich, which would take its brackets for markup."""
    return Text(printable(text), style)


def json_line(content: Mapping[str, Any]) -> str:
    r"""Return one line of JSON that any terminal and any encoding of files takes, with letters of all languages as they are.

    Examples:
        >>> print(json_line({"name": "Zoë\x9b", "image": "a\udcff.jpg"}))
        {"name": "Zoë\u009b", "image": "a\udcff.jpg"}
    """
    return "".join(
        f"\\u{ord(letter):04x}" if printable(letter) != letter else letter
        for letter in json.dumps(content, ensure_ascii=False)
    )
