"""A fingerprint of what tables hold."""

import hashlib
import os
from collections.abc import Mapping, Sequence

import pandas as pd

from reid_lightning.data.image_cache import sizes_and_times

_FILES = ("keypoints", "attribute_file")  # columns that name a file beside the images


def fingerprint(tables: Mapping[str, pd.DataFrame], missing_too: bool = False, times: bool = True) -> str:
    """Return a hash of tables: every column, and size and modification time of every image.

    Paths count from the folder that the images of a table have in common, so that a data set may move.

    Args:
        tables: As readers return them, by source.
        missing_too: Whether images may be missing.
        times: Whether modification times count; a copy of a data set has other ones.

    Raises:
        InputError: An image is missing, and `missing_too` is not set.
    """
    digest = hashlib.blake2b(digest_size=16)
    for source, table in sorted(tables.items()):
        digest.update(f"{source}\n{len(table)}\n".encode())
        paths = [os.path.abspath(path) for path in table["path"]]
        start = len(_common_folder(paths))
        digest.update("\n".join([path[start:] for path in paths]).encode(errors="surrogateescape"))
        digest.update(_facts(paths, times, missing_too))
        for name in sorted(set(table.columns) - {"path", "source", *_FILES}):
            digest.update(f"\n{name}\n".encode())
            digest.update(_hashes(table[name]))
        for name in sorted(set(table.columns) & set(_FILES)):
            files = [os.path.abspath(file) for file in sorted(table[name].dropna().unique())]
            digest.update("\n".join([name, *map(os.path.basename, files)]).encode(errors="surrogateescape"))
            digest.update(_facts(files, times))
    return digest.hexdigest()


def _hashes(column: pd.Series) -> bytes:
    try:
        return pd.util.hash_pandas_object(column, index=False).to_numpy().tobytes()
    except TypeError:  # a further column of lists, as Parquet may have
        return pd.util.hash_pandas_object(column.map(repr), index=False).to_numpy().tobytes()


def _common_folder(paths: Sequence[str]) -> str:
    """Return the folder that all paths lie below."""
    return os.path.commonpath([os.path.dirname(min(paths)), os.path.dirname(max(paths))]) if paths else ""


def _facts(paths: Sequence[str], times: bool, missing_too: bool = False) -> bytes:
    facts = sizes_and_times(paths, missing_too)
    return (facts if times else facts[:, 0]).tobytes()
