"""Milvus, as a gallery talks to it: one client for each server, its errors as sentences, and the rows that it takes."""

import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.address import MilvusAddress
from reid_lightning.inference.gallery.columns import KINDS, PROBABILITIES
from reid_lightning.inference.gallery.milvus_filters import key

TOKEN_VARIABLE = "MILVUS_TOKEN"
SECONDS = 10.0  # to reach a server
VECTOR, LOOKS = "vector", "looks"
SMALLEST_PROBABILITY = 1e-6  # as `attribute_agreement` takes it


def client(address: MilvusAddress) -> Any:
    """Return the client of a server, which all galleries of this process share.

    Raises:
        InputError: pymilvus is not installed, or nothing answers at the address.
    """
    needed = ["pymilvus", "milvus_lite"] if address.is_lite else ["pymilvus"]
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise InputError(
            f"The gallery {address.shown} needs {missing[0].replace('_', '-')}: install it with "
            "`pip install reid-lightning[milvus]`."
        )
    return _client(address, os.path.abspath(address.uri) if address.is_lite else address.uri)


@cache
def _client(address: MilvusAddress, uri: str) -> Any:
    for name in ("pymilvus", "grpc._server"):  # which print a traceback of every error
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it tells of pings while a long request is at work
    from pymilvus import MilvusClient

    with asked(address):
        return MilvusClient(uri, token=os.environ.get(TOKEN_VARIABLE, ""), timeout=SECONDS)


@contextmanager
def asked(address: MilvusAddress) -> Iterator[None]:
    """Turn what Milvus refuses into a sentence.

    Raises:
        InputError: It refuses.
    """
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, ConnectionError, OSError) as error:
        said = " ".join(str(getattr(error, "message", None) or error).split()).rstrip(".")
        if address.is_lite and "open" in said.lower() and "lite" in said.lower():
            said += "; another process may have it open: several processes share a server, milvus://HOST:PORT/NAME"
        raise InputError(f"{address.shown}: Milvus does not do this ({said[:500]}).") from error


def as_rows(vectors: NDArray[np.float32], table: pa.Table, outputs: int | None) -> list[dict[str, Any]]:
    """Return images as Milvus takes them.

    Args:
        vectors: (n, D).
        table: (n,) what is known, with `id` and `added`.
        outputs: Classes of the gallery's attributes; None: it has none.
    """
    rows: list[dict[str, Any]] = [{VECTOR: vector} for vector in vectors]
    for name in table.column_names:
        column = table[name]
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        for row, value in zip(rows, column.to_pylist(), strict=True):
            if value is not None:
                row[key(name)] = value
    if outputs is not None:
        for row in rows:
            shares = np.asarray(row.get(PROBABILITIES, np.zeros(outputs)), np.float32)
            row[LOOKS] = np.log(np.maximum(shares, SMALLEST_PROBABILITY))
    return rows


def as_table(rows: Sequence[dict[str, Any]], kinds: dict[str, str], columns: Sequence[str]) -> pa.Table:
    """Return what Milvus knows of images in the types of a gallery."""
    arrays = {}
    for name in columns:
        kind = KINDS[kinds[name]]
        cells = [row.get(key(name)) for row in rows]
        if kinds[name] == "time":
            arrays[name] = pa.array(cells, pa.int64()).cast(kind)
        elif kinds[name] == "number":
            arrays[name] = pa.array([None if cell is None else float(cell) for cell in cells], kind)
        elif kinds[name] == "numbers":
            arrays[name] = pa.array([None if cell is None else list(cell) for cell in cells], kind)
        else:
            arrays[name] = pa.array(cells, kind)
    return pa.table(arrays)
