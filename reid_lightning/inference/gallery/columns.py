"""What a gallery knows of its images: columns of text, numbers, times and truth, in Arrow's types."""

import re
from collections.abc import Mapping
from datetime import MAXYEAR, MINYEAR, date
from decimal import Decimal
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from reid_lightning.data.cells import booleans, identifiers, integers, is_one_line, is_unicode, refuse, texts
from reid_lightning.data.column_names import meaning
from reid_lightning.data.table import UNKNOWN
from reid_lightning.errors import InputError

KINDS: dict[str, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "time": pa.timestamp("us", tz="UTC"),
    "truth": pa.bool_(),
    "numbers": pa.list_(pa.float32()),
}
FIXED = {
    "id": "integer",
    "path": "text",
    "person_id": "text",
    "camera_id": "text",
    "tracklet_id": "text",
    "frame_id": "integer",
    "time": "time",
    "added": "time",
}
"""Kinds of the columns that every gallery has, empty where nothing is known."""
OWN = ("id", "added")  # given by the gallery
PROBABILITIES = "attribute_probabilities"
"""Column of the (C,) probabilities that a model's attribute heads state of an image, where the gallery has attributes."""

_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?|[+-]?\.\d+")
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")
_TRUTH = {"true", "false"}
_CELLS = (
    str,
    int,
    float,
    np.integer,
    np.floating,
    np.bool_,
    date,
    np.datetime64,
    Decimal,
    type(None),
    type(pd.NA),
    type(pd.NaT),
)


def to_arrow(table: pd.DataFrame, known: Mapping[str, str], origin: str) -> tuple[pa.Table, dict[str, str]]:
    """Return a table in the types of a gallery, and the kinds of the columns that the gallery did not have.

    Columns of `FIXED` that the table lacks are empty. The kind of another new column is told by its cells: numbers (without
    leading zeros), times (`2026-11-27`, `2026-11-27T12:30`; UTC unless a zone is given), true and false, or text.

    Args:
        table: A row per image, without the columns `id` and `added`.
        known: Kinds of the gallery's columns.
        origin: What messages call the table.

    Raises:
        InputError: A column has the name of one of the gallery's own or one that looks like another's, or a cell does
            not fit its column; the message names the row.
    """
    check_columns(table, origin)
    table = table.reset_index(drop=True)
    _refuse_other_values(table, origin)
    known = FIXED | dict(known)
    if PROBABILITIES in table.columns and PROBABILITIES not in known:
        raise InputError(
            f"{origin} has a column {PROBABILITIES}, which only a gallery with attributes has: remove it."
        )
    kinds = {str(name): known.get(str(name)) or _guess(table[name]) for name in table.columns}
    arrays = {name: _array(table, name, kind, origin) for name, kind in kinds.items()}
    for name, kind in FIXED.items():
        if name not in arrays and name not in OWN:
            arrays[name] = pa.nulls(len(table), KINDS[kind])
    return pa.table(arrays), {name: kind for name, kind in kinds.items() if name not in known}


def check_columns(table: pd.DataFrame, origin: str) -> None:
    """Refuse names of columns that a gallery gives itself, that stand twice, or that look like another column's.

    Raises:
        InputError: There is such a name.
    """
    names = [str(name) for name in table.columns]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{origin} has several columns {name}: rename or remove all but one.")
        meant = meaning(name)
        if meant in FIXED and meant not in names:
            raise InputError(f"{origin} has a column {name}, which looks like {meant}: rename it.")
        if name in OWN:
            raise InputError(f"{origin} has a column {name}, which every gallery has of its own: rename it.")


def _refuse_other_values(table: pd.DataFrame, origin: str) -> None:
    """Refuse cells that no column of a gallery holds, such as lists."""
    for name in table.columns:
        values = table[name]
        if name == PROBABILITIES or values.dtype != object:
            continue
        others = [kind for kind in set(map(type, values)) if not issubclass(kind, _CELLS)]
        wrong = values.map(type).isin(others) | values.map(_is_huge)
        refuse(
            table, wrong.to_numpy(bool), origin, f"{name} is neither text, a number, a time nor a truth", name
        )


def _is_huge(value: Any) -> bool:
    return isinstance(value, int) and abs(value) >= 2**63


def full(table: pa.Table, kinds: Mapping[str, str]) -> pa.Table:
    """Return a segment's table with all columns of the gallery, in their order; those that it lacks are empty."""
    columns = [
        table[name] if name in table.column_names else pa.nulls(len(table), KINDS[kind])
        for name, kind in kinds.items()
    ]
    return pa.table(columns, names=list(kinds))


def _guess(values: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(values):
        return "truth"
    if pd.api.types.is_datetime64_any_dtype(values):
        return "time"
    if pd.api.types.is_numeric_dtype(values):
        return "number"
    cells = {str(value).strip() for value in values[values.notna()].unique()} - {""}
    for kind, fits in (
        ("number", _NUMBER.fullmatch),
        ("time", _TIME.fullmatch),
        ("truth", lambda cell: cell.lower() in _TRUTH),
    ):
        if cells and all(fits(cell) for cell in cells):
            return kind
    return "text"


def _array(table: pd.DataFrame, name: str, kind: str, origin: str) -> pa.Array:
    if kind == "text":
        if name == "path":
            values: Any = texts(table, name, origin)
        else:
            values = identifiers(table, name, origin)
            if name == "person_id":
                values = values.mask(values == UNKNOWN)
                broken = [isinstance(cell, str) and not is_one_line(cell) for cell in values.tolist()]
                reason = "person_id must be one line without NUL"
                refuse(table, np.array(broken, bool), origin, reason, name)
    elif kind == "integer":
        values = integers(table, name, origin)
    elif kind == "number":
        values = pd.to_numeric(table[name], errors="coerce").astype("Float64")
        infinite = ~np.isfinite(values.fillna(0).to_numpy(float))
        refuse(table, (_filled(table[name]) & values.isna()).to_numpy(bool) | infinite, origin,
               f"{name} holds numbers in this gallery", name)  # fmt: skip
    elif kind == "time":
        values = _times(table, name, origin)
    elif kind == "numbers":
        return pa.array(list(table[name]), KINDS[kind], from_pandas=True)
    else:
        values = booleans(table, name, origin)
    return pa.Array.from_pandas(values, type=KINDS[kind])


def _times(table: pd.DataFrame, name: str, origin: str) -> pd.Series:
    values = table[name]
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        refuse(table, values.notna().to_numpy(bool), origin,
               f"{name} is not a time such as 2026-11-27T12:30:00", name)  # fmt: skip
    if not pd.api.types.is_datetime64_any_dtype(values):
        values = values.astype(object).where(_filled(values), None)
        is_number = values.map(lambda value: isinstance(value, Number)).to_numpy(bool)
        unreadable = values.map(lambda value: isinstance(value, str) and not is_unicode(value)).to_numpy(bool)
        refuse(
            table, is_number | unreadable, origin, f"{name} is not a time such as 2026-11-27T12:30:00", name
        )
    times = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
    refuse(table, (_filled(table[name]) & times.isna()).to_numpy(bool), origin,
           f"{name} is not a time such as 2026-11-27T12:30:00", name)  # fmt: skip
    # A zone may lead beyond the years of `datetime`, which could be written and not be read again.
    beyond = times.notna() & ~times.dt.year.between(MINYEAR, MAXYEAR)
    refuse(
        table,
        beyond.to_numpy(bool),
        origin,
        f"{name} is not within the years {MINYEAR} to {MAXYEAR} UTC",
        name,
    )
    return times.dt.as_unit("us")


def _filled(values: pd.Series) -> pd.Series:
    """Tell which cells hold something."""
    empty = [isinstance(value, str) and not value.strip() for value in values.tolist()]
    return values.notna() & ~np.array(empty, bool)
