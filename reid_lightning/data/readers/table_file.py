"""A CSV or Parquet file with a row per image: a data set without any code."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from reid_lightning.data.attributes import MARKET12
from reid_lightning.data.column_names import PLAIN_COLUMNS, check_names
from reid_lightning.data.delimited import read_delimited
from reid_lightning.data.table import validate_table
from reid_lightning.errors import InputError

log = logging.getLogger("reid_lightning")

_KNOWN = (*PLAIN_COLUMNS, *MARKET12.names)
_PATHS = ("path", "keypoints", "attribute_file")


def read_table_file(root: str | Path, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read a `.csv`, `.tsv` or `.parquet` file in the form of `reid_lightning.data.table`.

    Paths may be absolute or relative to the file's folder.

    Args:
        root: The file.
        columns: What the file calls a column, by the table's name for it: `{"person_id": "pid"}`.

    Raises:
        InputError: The file cannot be read, lacks a column or has one whose name looks like another's, or holds a value
            that cannot be used (named by row, counted from 1 below the header).
    """
    path = Path(root).expanduser()
    if not path.is_file():
        raise InputError(f"data.root={path} is not a file; data=table reads a .csv, .tsv or .parquet file.")
    table = _rename(read_columns(path), columns or {}, path)
    check_names(table, str(path), "data.sources.table.columns")
    others = [str(name) for name in table.columns if name not in _KNOWN]
    if others:
        log.info(
            "%s has further columns, which are read where a setting names them: %s", path, ", ".join(others)
        )
    folder = str(path.parent.absolute())
    for name in _PATHS:
        if name in table.columns:
            table[name] = pd.Series([_below(folder, value) for value in table[name]], table.index)
    return validate_table(table, str(path))


def read_columns(path: Path) -> pd.DataFrame:
    """Return a `.csv`, `.tsv` or `.parquet` file as it stands, text as text: identities such as 0001 keep their zeros.

    Raises:
        InputError: The file cannot be read as what its ending says.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".tsv", ".parquet"):
        raise InputError(f"{path} ends neither in .csv, .tsv nor .parquet.")
    if suffix != ".parquet":
        return read_delimited(path, "," if suffix == ".csv" else "\t")
    try:
        return pd.read_parquet(path)
    except (ValueError, TypeError, NotImplementedError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"{path} cannot be read as PARQUET: {reason}.") from None


def _below(folder: str, value: object) -> object:
    """Return a path below the table's folder, unless it is absolute; what is no path as it stands."""
    return os.path.join(folder, value.strip()) if isinstance(value, str) and value.strip() else value


def _rename(table: pd.DataFrame, columns: Mapping[str, str], path: Path) -> pd.DataFrame:
    if not isinstance(columns, Mapping):
        raise InputError(f"columns={columns} must be pairs, as in {{person_id: pid, camera_id: camid}}.")
    theirs = {name: str(called) for name, called in columns.items()}
    names = [str(name) for name in table.columns]
    for name, called in theirs.items():
        if name not in _KNOWN:
            raise InputError(f"columns.{name} names no column of a table: they are {', '.join(_KNOWN)}.")
        if called not in names:
            raise InputError(f"{path} has no column {called}: it has {', '.join(names)}.")
        if name in names and name not in (called, *theirs.values()):
            raise InputError(
                f"{path} has a column {name} beside {called}, which columns.{name} names: remove one of the two."
            )
        if list(theirs.values()).count(called) > 1:
            raise InputError(f"columns names {called} twice: a column of {path} can be read as one only.")
    return table.rename(columns={called: name for name, called in theirs.items()})
