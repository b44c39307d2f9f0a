"""Tables and curves that loggers show."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Image:
    """An image in a cell of a table."""

    path: Path
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """A table: cells are text, numbers, None or an `Image`."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Curve:
    """A line that is compared over runs."""

    title: str
    x: str
    y: str
    points: Sequence[tuple[float, float]]
