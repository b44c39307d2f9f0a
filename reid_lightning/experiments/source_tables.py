"""The tables that the jobs of one process have in common."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd

from reid_lightning.config.resolve import instantiate
from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.data.fingerprint import fingerprint
from reid_lightning.data.table import concatenate_tables


class SourceTables:
    """Reads the data sets of a config once in a process, as long as the next job has the same.

    The tables of the last config are kept, and the fingerprints of all. A sweep may last for hours; a file that changes
    meanwhile counts from the next command on.
    """

    def __init__(self) -> None:
        self._key = ""
        self._tables: dict[str, pd.DataFrame] = {}
        self._fingerprints: dict[str, str] = {}
        self._joined: tuple[str, AttributeSchema, pd.DataFrame] | None = None

    def readers(self, config: Mapping[str, Any]) -> dict[str, Callable[[], pd.DataFrame]]:
        """Return what stands for the readers of a plain config's sources: functions that return the kept tables."""
        return {name: partial(self._read, config, name) for name in config["data"]["sources"]}

    def joined(self, config: Mapping[str, Any], schema: AttributeSchema) -> pd.DataFrame:
        """Return the checked tables of a plain config under each other (`concatenate_tables`); nobody may change it.

        Raises:
            InputError: A table or its attribute file cannot be used.
        """
        key = _key_of(config)
        if self._joined is None or self._joined[:2] != (key, schema):
            tables = {name: read() for name, read in self.readers(config).items()}
            self._joined = key, schema, concatenate_tables(tables, schema)
        return self._joined[2]

    def fingerprint(self, config: Mapping[str, Any]) -> str:
        """Return the fingerprint of the tables of a plain config.

        Raises:
            InputError: A table cannot be read, or an image is missing.
        """
        key = f"{_key_of(config)} {config['data'].get('damaged')}"
        if key not in self._fingerprints:
            tables = {name: read() for name, read in self.readers(config).items()}
            skips = config["data"].get("damaged") == "skip"
            self._fingerprints[key] = fingerprint(tables, missing_too=skips)
        return self._fingerprints[key]

    def _read(self, config: Mapping[str, Any], name: str) -> pd.DataFrame:
        key = _key_of(config)
        if key != self._key:
            sources = config["data"]["sources"]
            readers = {
                source: instantiate(node, f"data.sources.{source}") for source, node in sources.items()
            }
            self._tables, self._key = {source: read() for source, read in readers.items()}, key
        return self._tables[name]


def _key_of(config: Mapping[str, Any]) -> str:
    return json.dumps(config["data"]["sources"], sort_keys=True, default=str)


TABLES = SourceTables()  # of this process
