"""Text files of rows and columns (CSV, TSV) as people and spreadsheets write them, cell by cell as text."""

import codecs
import csv
import io
from pathlib import Path

import pandas as pd

from reid_lightning.errors import InputError

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark begins alike
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SEPARATORS = (",", ";", "\t", "|")


def read_delimited(path: Path, separator: str = ",") -> pd.DataFrame:
    """Return a text file's rows as text, missing where a cell is empty.

    The first line names the columns. UTF-8 is read, and UTF-16 or UTF-32 that begin with a byte order mark. Spaces around
    names and cells do not count, and neither do empty lines and columns without a name or a value.

    Args:
        path: The file.
        separator: What separates cells; a file whose first line lacks it may use a comma, semicolon, tab or bar.

    Raises:
        InputError: The file cannot be read, is not text of a known encoding, or a row has more or fewer cells than the
            first line.
    """
    kind = "TSV" if separator == "\t" else "CSV"
    try:
        text = _decoded(path.read_bytes(), path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if "\0" in text:
        raise InputError(f"{path} cannot be read as {kind}: it is not a text file.")
    first = text.split("\n", 1)[0]
    found = [mark for mark in (separator, *_SEPARATORS) if mark in first]
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=(found or [separator])[0], skipinitialspace=True, strict=True
    )
    try:
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as {kind}: line {reader.line_num}, {error}.") from None
    if not rows:
        raise InputError(f"{path} cannot be read as {kind}: it is empty.")
    header, *rows = rows
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise InputError(
                f"{path}, row {number} has {len(row)} cells, but its first line names {len(header)} columns: a cell that "
                "holds a separator needs quotes."
            )
    names = [name.strip() for name in header]
    columns = [[cell.strip() or None for cell in cells] for cells in zip(*rows, strict=True)] or [[]] * len(
        names
    )
    kept = [place for place, name in enumerate(names) if name or any(columns[place])]
    data = {place: pd.Series(columns[place], dtype="str") for place in kept}
    table = pd.DataFrame(data, index=pd.RangeIndex(len(rows)))
    table.columns = pd.Index([names[place] or f"Unnamed: {place}" for place in kept], dtype=object)
    return table


def _decoded(data: bytes, path: Path) -> str:
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        name = "UTF-8" if encoding.startswith("utf-8") else encoding.upper()
        raise InputError(f"{path} is not {name} text: save it as UTF-8.") from None
