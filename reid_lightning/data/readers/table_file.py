"""A CSV or Parquet file with a row per image: a data set without any code."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from reid_lightning.data.attributes import MARKET12
from reid_lightning.data.table import OPTIONAL_COLUMNS, REQUIRED_COLUMNS, validate_table
from reid_lightning.errors import InputError

_PLAIN = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS, "keypoints", "attribute_file")
_KNOWN = (*_PLAIN, *MARKET12.names)


def read_table_file(root: str | Path, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read a `.csv`, `.tsv` or `.parquet` file in the form of `reid_lightning.data.table`.

    Paths may be absolute or relative to the file's folder.

    Args:
        root: The file.
        columns: What the file calls a column, by the table's name for it: `{"person_id": "pid"}`.

    Raises:
        InputError: The file cannot be read, lacks a column, or holds a value that cannot be used (named by
            row, counted from 1 below the header).
    """
    path = Path(root).expanduser()
    if not path.is_file():
        raise InputError(f"data.root={path} is no file; data=table reads a .csv, .tsv or .parquet file.")
    table = _rename(read_columns(path), dict(columns or {}), path)
    folder = str(path.parent.absolute())
    for name in ("path", "keypoints", "attribute_file"):
        if name in table.columns:
            table[name] = [os.path.join(folder, value) if isinstance(value, str) and value else value
                           for value in table[name].tolist()]  # fmt: skip
    return validate_table(table, str(path))


def read_columns(path: Path) -> pd.DataFrame:
    """Return a `.csv`, `.tsv` or `.parquet` file as it stands, text as text.

    Raises:
        InputError: The file cannot be read as what its ending says.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".tsv", ".parquet"):
        raise InputError(f"{path} ends neither in .csv, .tsv nor .parquet.")
    try:
        if suffix == ".parquet":
            return pd.read_parquet(path)
        separator = "," if suffix == ".csv" else "\t"
        # As text: identities such as 0001 keep their zeros, and a person may be called NA.
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, na_values=[""])
    except ImportError:
        raise InputError(
            f"{path} needs pyarrow to be read: install it with `pip install reid-lightning[parquet]`, "
            "or save the table as CSV."
        ) from None
    except (ValueError, OSError) as error:
        reason = str(error).strip().rstrip(".")
        raise InputError(f"{path} cannot be read as {suffix[1:].upper()}: {reason}.") from None


def _rename(table: pd.DataFrame, columns: dict[str, str], path: Path) -> pd.DataFrame:
    for name, theirs in columns.items():
        if name not in _KNOWN:
            raise InputError(f"columns.{name} names no column of a table: they are {', '.join(_KNOWN)}.")
        if theirs not in table.columns:
            raise InputError(f"{path} has no column {theirs}: it has {', '.join(map(str, table.columns))}.")
    table = table.rename(columns={theirs: name for name, theirs in columns.items()})
    for name in table.columns:
        # Attributes are anyone's: PA-100K has a Backpack.
        meant = difflib.get_close_matches(str(name), _PLAIN, n=1, cutoff=0.8)
        if meant and name not in _KNOWN and meant[0] not in table.columns:
            raise InputError(
                f"{path} has a column {name}, which looks like {meant[0]}: rename it, or say "
                f"columns={{{meant[0]}: {name}}}."
            )
    return table
