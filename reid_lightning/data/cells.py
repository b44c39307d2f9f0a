"""The cells of a table's columns as names, text, whole numbers and true or false, whatever a file or caller gave."""

import os
import re
import unicodedata
from typing import Any

import numpy as np
import pandas as pd

from reid_lightning.errors import InputError

EXACT = 2**53  # whole numbers of this size and more are not exact in floating point
_TRUE_FALSE = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
_WHOLE = re.compile(r"(-?[0-9]+)\.0+")


def column(table: pd.DataFrame, name: str) -> pd.Series:
    """Return a column, empty where the table has none of this name."""
    if name in table.columns:
        return table[name]
    return pd.Series(pd.NA, index=table.index, dtype="string")


def identifiers(table: pd.DataFrame, name: str, origin: str) -> pd.Series:
    """Return a column of names as text, missing where a cell is empty.

    1, 1.0, "1" and "1.0" are one name, which is what pandas makes of whole numbers with gaps; "0001" is another. Spaces
    around a name do not count, and neither does the way in which an accent is encoded (Unicode NFC).

    Args:
        table: The table; a column that it does not have is missing everywhere.
        name: The column.
        origin: What error messages call the table.

    Raises:
        InputError: A cell is neither text nor a number, or a number that floating point cannot hold exactly.

    Examples:
        >>> identifiers(pd.DataFrame({"camera_id": [1.0, "1", " 01", None, 7]}), "camera_id", "album").tolist()
        ['1', '1', '01', <NA>, '7']
    """
    values = column(table, name)
    try:
        codes, different = pd.factorize(values.to_numpy(object) if values.dtype == object else values)
    except TypeError:  # lists and dicts have no hash
        _refuse_kinds(table, values, name, origin)
        raise
    narrow = _narrow_float(values.dtype)
    names: list[str | None] = []
    wrong: dict[str, list[int]] = {}
    for code, value in enumerate(different.tolist()):
        text, reason = _named(narrow(value) if narrow and isinstance(value, float) else value)
        names.append(text)
        if reason:
            wrong.setdefault(reason, []).append(code)
    for reason, of in wrong.items():
        refuse(table, np.isin(codes, of), origin, f"{name} {reason}", name)
    found = pd.array([*names, None], dtype="string").take(codes)  # -1, a gap, is the last
    return pd.Series(found, table.index)


def texts(table: pd.DataFrame, name: str, origin: str) -> pd.Series:
    """Return a column of file names as text without spaces around it, missing where a cell is empty.

    Raises:
        InputError: A cell is not text, or cannot be the name of a file.
    """
    values = column(table, name)
    if not isinstance(values.dtype, pd.StringDtype):
        cells = [os.fspath(value) if isinstance(value, os.PathLike) else value for value in values]
        cells = [None if _is_missing(value) else value for value in cells]
        values = pd.Series(cells, table.index, dtype=object)
        _refuse_kinds(table, values, name, origin)
        undecodable = np.array([isinstance(value, str) and not is_unicode(value) for value in cells], bool)
        refuse(table, undecodable, origin, f"{name} is not UTF-8; rename the file")
    values = values.astype("string").str.strip()
    impossible = values.str.contains("\0", regex=False).fillna(False)
    refuse(table, impossible.to_numpy(bool), origin, f"{name} holds a NUL character", name)
    return values.mask(values == "")


def integers(table: pd.DataFrame, name: str, origin: str) -> pd.Series:
    """Return a column of whole numbers, missing where a cell is empty.

    Raises:
        InputError: A cell is not a whole number.
    """
    values = column(table, name)
    if not pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        values = identifiers(table, name, origin)
    narrow = _narrow_float(values.dtype)
    numbers = pd.to_numeric(values, errors="coerce").astype("Float64")
    whole = (numbers % 1 == 0) & (numbers.abs() < (_exact_below(narrow) if narrow else EXACT))
    wrong = values.notna().to_numpy(bool) & ~whole.fillna(False).to_numpy(bool)
    refuse(table, wrong, origin, f"{name} is not an integer", name)
    return numbers.astype("Int64")


def booleans(table: pd.DataFrame, name: str, origin: str) -> pd.Series:
    """Return a column of true and false; an empty cell is false.

    Raises:
        InputError: A cell is neither true nor false.
    """
    values = column(table, name)
    if pd.api.types.is_bool_dtype(values.dtype) and not isinstance(values.dtype, pd.CategoricalDtype):
        return values.fillna(False).astype(bool)
    words = identifiers(table, name, origin).str.lower()
    truth = words.map(_TRUE_FALSE)
    wrong = (words.notna() & truth.isna()).to_numpy(bool)
    refuse(table, wrong, origin, f"{name} is neither true nor false", name)
    return truth.astype("boolean").fillna(False).astype(bool)


def refuse(
    table: pd.DataFrame, wrong: np.ndarray, origin: str, reason: str, column: str | None = None
) -> None:
    """Raise an `InputError` for the first row marked wrong.

    Args:
        table: The table, with its column `path`.
        wrong: (N,) bool.
        origin: What the message calls the table.
        reason: What is wrong.
        column: Whose value the message shows; None for none.
    """
    marked = np.flatnonzero(wrong)
    if len(marked):
        row = table.iloc[int(marked[0])]
        value = f" but {_shown(row[column])}" if column else ""
        more = f" (and {len(marked) - 1} more rows)" if len(marked) > 1 else ""
        path = f" ({printable(str(row['path']))})" if "path" in table.columns else ""
        raise InputError(f"{origin}, row {marked[0] + 1}{path}: {reason}{value}{more}.")


def is_unicode(text: str) -> bool:
    """Tell whether text can be written as UTF-8, which a file name of other bytes cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_one_line(text: str) -> bool:
    """Tell whether text holds no line break and no NUL, which end a row or a text for other programs.

    A carriage return or an escape alone is a name's own matter, as in names of folders: it is shown escaped.

    Examples:
        >>> is_one_line("Zoë 中"), is_one_line("Ada\\nEve"), is_one_line("Ada\\0")
        (True, False, False)
    """
    return not any(sign in text for sign in "\0\n\x85\u2028\u2029")


def printable(text: str) -> str:
    """Return text that can be written as UTF-8: bytes of a file name that are not become `\\udcXX`."""
    return text.encode("utf-8", "backslashreplace").decode()


def _named(value: Any) -> tuple[str | None, str | None]:
    """Return the name that a cell holds (None: it is empty), and why it cannot be one (None: it can)."""
    if isinstance(value, float | np.floating):
        number = float(value)
        if np.isinf(number):
            return None, "is not finite"
        if number % 1 != 0:
            return str(value), None
        if abs(number) >= _exact_below(type(value)):
            return None, "has more digits than a floating-point number holds; save the column as text"
        return str(int(number)), None
    if _is_foreign(value):
        return None, "is neither text nor a number"
    text = str(value).strip()
    if not text.isascii():
        if not is_unicode(text):
            return None, "is not UTF-8 text"
        text = unicodedata.normalize("NFC", text)
    elif whole := _WHOLE.fullmatch(text):
        text = whole[1]
    return text or None, None


def _narrow_float(dtype: Any) -> type[np.floating] | None:
    """Return the type of a column's numbers where it holds fewer digits than a `float`; None for all other columns."""
    if isinstance(dtype, pd.CategoricalDtype):
        dtype = dtype.categories.dtype
    dtype = getattr(dtype, "numpy_dtype", dtype)  # of pandas' own and of pyarrow's types
    return dtype.type if isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize < 8 else None


def _exact_below(kind: Any) -> int:
    """Return the number from which on the whole numbers of a floating-point type are not exact."""
    return EXACT if issubclass(kind, float) else min(EXACT, 2 ** (int(np.finfo(kind).nmant) + 1))


def _is_missing(value: Any) -> bool:
    return (
        value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value))
    )


def _is_foreign(value: Any) -> bool:
    return isinstance(value, bytes | list | tuple | dict | set | frozenset | np.ndarray)


def _refuse_kinds(table: pd.DataFrame, values: pd.Series, name: str, origin: str) -> None:
    foreign = np.array([_is_foreign(value) for value in values], bool)
    refuse(table, foreign, origin, f"{name} is neither text nor a number", name)


def _shown(value: Any) -> str:
    text = printable(str(value))
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
