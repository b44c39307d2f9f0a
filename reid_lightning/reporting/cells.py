"""CSV files that a spreadsheet may open: no cell of text is a formula."""

import csv
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd

from reid_lightning.files import atomic_path

# Signs that begin a formula, as OWASP lists them ("CSV injection"), the wide ones of Asian keyboards among them.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff0b\uff0d\uff1d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def write_csv(table: pd.DataFrame, path: str | Path) -> None:
    r"""Write a table atomically, text so that no spreadsheet takes it for a formula.

    A cell or heading that begins with `=`, `+`, `-`, `@`, a tab or a line break gets an apostrophe in front, which
    spreadsheets do not show; numbers are left as they are, also where they are text. `read_cell` takes it away again.
    A byte of a file's name that is not UTF-8 is written as `\udcNN`, as in JSON.

    Args:
        table: Its index is not written.
        path: The CSV file.

    Raises:
        InputError: It cannot be written.
    """
    with CsvWriter(path) as file:
        file.write(table)


class CsvWriter:
    """Writes a file as `write_csv` does, a part of the table at a time; the whole file is there at the end, or none.

    Args:
        path: The CSV file.
    """

    def __init__(self, path: str | Path) -> None:
        self._stack = ExitStack()
        self._path, self._begun = path, False

    def __enter__(self) -> Self:
        self._temporary = self._stack.enter_context(atomic_path(self._path))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def write(self, table: pd.DataFrame) -> None:
        """Add rows, with the heading before the first."""
        safe = table.rename(columns=write_cell)
        quoting: Literal[0, 2] = csv.QUOTE_MINIMAL
        for place, column in enumerate(table.columns):
            if not (
                pd.api.types.is_numeric_dtype(table[column]) or pd.api.types.is_bool_dtype(table[column])
            ):
                cells = pd.Series([write_cell(value) for value in table[column]], table.index, dtype=object)
                safe.isetitem(place, cells.array)
                if any("\r" in value for value in cells if isinstance(value, str)):
                    quoting = csv.QUOTE_NONNUMERIC  # otherwise it would begin a new row, and in it a formula
        mode: Literal["a", "w"] = "a" if self._begun else "w"
        safe.to_csv(
            self._temporary,
            index=False,
            quoting=quoting,
            errors="backslashreplace",
            mode=mode,
            header=not self._begun,
        )
        self._begun = True


def write_cell(value: object) -> object:
    """Return a cell with an apostrophe in front where a spreadsheet would run it.

    Examples:
        >>> [write_cell(value) for value in ("=1+1", "-1", "+a", "'=1", "ann-marie", -1.5, None)]
        ["'=1+1", '-1', "'+a", "''=1", 'ann-marie', -1.5, None]
    """
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def read_cell(value: object) -> object:
    """Return what `write_cell` was given.

    Examples:
        >>> [read_cell(write_cell(value)) for value in ("=1+1", "-1", "'=1", "'n Man", None)]
        ['=1+1', '-1', "'=1", "'n Man", None]
    """
    return value[1:] if isinstance(value, str) and value[:1] == "'" and _FORMULA.match(value) else value
