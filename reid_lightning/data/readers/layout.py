"""Finding a data set's folder and reading the names in it, with errors that say what was looked for."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reid_lightning.data.readers.image_files import ImageFiles, require_unicode
from reid_lightning.errors import InputError


def find_folder(root: str | Path, holds: Sequence[str], inner: Sequence[str] = ()) -> Path:
    """Return the folder that holds the data set: `root`, or the folder in it that the archive unpacks to.

    Args:
        root: What the user names.
        holds: Files and folders, relative to it, that the data set consists of.
        inner: Names of folders below `root` that may hold them instead.

    Raises:
        InputError: Neither holds them all; the message says what is missing, or that the level above or below
            is the right one.
    """
    root = Path(root).expanduser()
    require_unicode(root)
    for folder in (root, *(root / name for name in inner)):
        if _holds_all(folder, holds):
            return folder
    wanted = ", ".join(holds)
    if not root.is_dir():
        raise InputError(f"data.root={root} is not a folder; it should hold {wanted}.")
    below = [
        folder for child in sorted(root.iterdir()) for folder in (child, *(child / name for name in inner))
    ]
    found = next((folder for folder in (root.parent, *below) if _holds_all(folder, holds)), None)
    if found is not None:
        level = "above" if found == root.parent else "below"
        raise InputError(
            f"data.root={root} does not hold {wanted}, but the level {level} does: use data.root={found}."
        )
    missing = [name for name in holds if not (root / name).exists()]
    elsewhere = "".join(f" and in {root / name}" for name in inner)
    raise InputError(f"data.root={root} lacks {', '.join(missing)}: looked for {wanted} there{elsewhere}.")


def _holds_all(folder: Path, names: Sequence[str]) -> bool:
    return all((folder / name).exists() for name in names)


def parse_images(
    folder: Path, pattern: re.Pattern[str], example: str, columns: Mapping[str, str | None] | None = None
) -> pd.DataFrame:
    """Read what the names of a folder's images say; the log counts other files and folders, which are passed over.

    Args:
        folder: Holds the images.
        pattern: Matches a whole name; its groups, which all have names, become columns.
        example: A right name and what its parts mean, for the error.
        columns: Further columns, of one value each.

    Returns:
        A row per image in the order of names, with `path` before the other columns.

    Raises:
        InputError: An image is named otherwise, or there is none.
    """
    files = ImageFiles(folder)
    names = files.images(folder)
    if below := files.folders(folder):
        files.pass_over("folders", len(below))
    files.report()
    rows = []
    for name in names:
        match = pattern.fullmatch(name)
        if match is None:
            raise InputError(
                f"{folder / name} is not named like {example}: rename it, move it away, or read the folder "
                "with data=table."
            )
        rows.append(match.groups())
    if not rows:
        raise InputError(f"{folder} holds no images named like {example}.")
    table = pd.DataFrame(rows, columns=list(pattern.groupindex))
    start = f"{folder}{os.sep}"
    table.insert(0, "path", [start + name for name in names])
    return table.assign(**columns or {})


def in_split_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort by split (train, query, gallery); within each the rows keep their order."""
    order = rows["split"].map({"train": 0, "query": 1, "gallery": 2}).to_numpy().argsort(kind="stable")
    return rows.iloc[order].reset_index(drop=True)


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file.

    Raises:
        InputError: It cannot be read as text.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({error}): copy the file again.") from None


def read_mat(path: Path, *names: str) -> dict[str, np.ndarray[Any, Any]]:
    """Read variables from a MATLAB file of version 7 or older.

    Raises:
        InputError: It is no such file, or lacks a variable.
    """
    import scipy.io

    try:
        content = scipy.io.loadmat(path, variable_names=names)
    except Exception as error:  # a damaged file raises all kinds, of zlib and of struct too
        reason = str(error).strip().rstrip(".")
        raise InputError(f"{path} cannot be read as a MATLAB file of version 7 or older: {reason}.") from None
    missing = [name for name in names if name not in content]
    if missing:
        raise InputError(f"{path} lacks the variable {missing[0]}: copy the file again.")
    return {name: content[name] for name in names}
