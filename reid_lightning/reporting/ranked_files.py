"""Ranked lists as names of files: `reid_test.txt`, a line per query."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from reid_lightning.files import atomic_path

RANKED = "reid_test.txt"
_TEST = ("query", "gallery")


def write_ranked_files(
    path: Path, queries: Sequence[str] | np.ndarray, gallery: np.ndarray, found: np.ndarray
) -> None:
    """Write a line per query: its file, a colon, and the nearest gallery files in their order, separated by commas.

    Args:
        path: The text file.
        queries: (Q,) names of the queries.
        gallery: (G,) names of the gallery's images.
        found: (Q, k) rows of the gallery, nearest first, -1 where there are no more.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        for name, row in zip(queries, found, strict=True):
            file.write(f"{name}: {', '.join(gallery[row[row >= 0]])}\n")


def file_names(table: pd.DataFrame) -> np.ndarray:
    """Return each row's file name, or its whole path where names of the test repeat.

    Args:
        table: `path` and `split` of every row.
    """
    names = _last_parts(table["path"])
    tested = table["split"].isin(_TEST)
    return (table["path"] if names[tested].duplicated().any() else names).to_numpy(str)


def bare_names(table: pd.DataFrame) -> np.ndarray:
    """Return each row's file name, or its whole path where names repeat among the queries or in the gallery.

    A query and a gallery image may have one name, as those of two folders may.

    Examples:
        >>> paths = ["test/1.jpg", "test/2.jpg", "queries/1.jpg"]
        >>> bare_names(pd.DataFrame({"path": paths, "split": ["gallery", "gallery", "query"]})).tolist()
        ['1.jpg', '2.jpg', '1.jpg']
    """
    names, written = _last_parts(table["path"]), table["path"].copy()
    for split in _TEST:
        rows = table["split"] == split
        if not names[rows].duplicated().any():
            written[rows] = names[rows]
    return written.to_numpy(str)


def _last_parts(paths: pd.Series) -> pd.Series:
    return paths.str.rsplit("/", n=1).str[-1]
