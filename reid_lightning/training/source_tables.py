"""The tables that the jobs of one process have in common, and a fingerprint of what they hold."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from reid_lightning.data.image_cache import sizes_and_times
from reid_lightning.training.configuration import instantiate

_FILES = ("keypoints", "attribute_file")  # columns that name a file beside the images


class SourceTables:
    """Reads the data sets of a config once in a process, as long as the next job has the same.

    The tables of the last config are kept, and the fingerprints of all. A sweep may last for hours; a file that changes
    meanwhile counts from the next command on.
    """

    def __init__(self) -> None:
        self._key = ""
        self._tables: dict[str, pd.DataFrame] = {}
        self._fingerprints: dict[str, str] = {}

    def readers(self, config: Mapping[str, Any]) -> dict[str, Callable[[], pd.DataFrame]]:
        """Return what stands for the readers of a plain config's sources: functions that return the kept tables."""
        return {name: partial(self._read, config, name) for name in config["data"]["sources"]}

    def fingerprint(self, config: Mapping[str, Any]) -> str:
        """Return the fingerprint of the tables of a plain config.

        Raises:
            InputError: A table cannot be read, or an image is missing.
        """
        key = _key_of(config)
        if key not in self._fingerprints:
            tables = {name: read() for name, read in self.readers(config).items()}
            self._fingerprints[key] = fingerprint(tables)
        return self._fingerprints[key]

    def _read(self, config: Mapping[str, Any], name: str) -> pd.DataFrame:
        key = _key_of(config)
        if key != self._key:
            readers = instantiate(config["data"]["sources"])
            self._tables, self._key = {source: read() for source, read in readers.items()}, key
        return self._tables[name]


def _key_of(config: Mapping[str, Any]) -> str:
    return json.dumps(config["data"]["sources"], sort_keys=True, default=str)


def fingerprint(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return a hash of tables: every column, and size and modification time of every image.

    Paths count from the folder that the images of a table have in common, so that a data set may move.

    Args:
        tables: As readers return them, by source.

    Raises:
        InputError: An image is missing.
    """
    digest = hashlib.blake2b(digest_size=16)
    for source, table in sorted(tables.items()):
        digest.update(f"{source}\n{len(table)}\n".encode())
        paths = [os.path.abspath(path) for path in table["path"]]
        start = len(_common_folder(paths))
        digest.update("\n".join([path[start:] for path in paths]).encode(errors="surrogateescape"))
        digest.update(_sizes_and_times(paths))
        for name in sorted(set(table.columns) - {"path", "source", *_FILES}):
            digest.update(f"\n{name}\n".encode())
            digest.update(pd.util.hash_pandas_object(table[name], index=False).to_numpy().tobytes())
        for name in sorted(set(table.columns) & set(_FILES)):
            files = [os.path.abspath(file) for file in sorted(table[name].dropna().unique())]
            digest.update("\n".join([name, *map(os.path.basename, files)]).encode(errors="surrogateescape"))
            digest.update(_sizes_and_times(files))
    return digest.hexdigest()


def _common_folder(paths: Sequence[str]) -> str:
    """Return the folder that all paths lie below."""
    return os.path.commonpath([os.path.dirname(min(paths)), os.path.dirname(max(paths))]) if paths else ""


def _sizes_and_times(paths: Sequence[str]) -> bytes:
    return np.fromiter(sizes_and_times(paths), np.int64, 2 * len(paths)).tobytes()
