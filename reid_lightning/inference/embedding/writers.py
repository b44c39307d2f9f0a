"""Files of vectors, written some rows at a time: `.npz` for the other commands, `.parquet` for pandas and DuckDB."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile, ZipInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path

VECTOR = "vector"
_BLOCK = 65_536  # cells of text at a time
_ROW_GROUP = 16_384

Chunks = Iterable[NDArray[Any]]
Writer = Callable[[Path, pd.DataFrame, Chunks, int, str, Mapping[str, Any]], None]


def write_npz(
    output: Path, table: pd.DataFrame, chunks: Chunks, size: int, dtype: str, facts: Mapping[str, Any]
) -> None:
    """Write the `.npz` file that `Embeddings.load` reads atomically; the same rows give the same bytes.

    Args:
        output: The file.
        table: (N,) rows with `path` and, where known, `person_id` and `camera_id`; other columns are left out.
        chunks: (n, D) vectors of these rows, in their order.
        size: D.
        dtype: "float32" or "float16".
        facts: What is to be known of the vectors; of it the `distance` is written.

    Raises:
        InputError: It cannot be written.
    """
    count = len(table)
    with (
        atomic_path(output) as temporary,
        temporary.open("wb") as file,
        ZipFile(file, "w") as archive,
    ):
        with _member(archive, "vectors", (count, size), np.dtype(dtype)) as member:
            for vectors in chunks:
                member.write(np.ascontiguousarray(vectors, np.dtype(dtype)).data)
        for name, column in (("paths", "path"), ("people", "person_id"), ("cameras", "camera_id")):
            _write_texts(archive, name, table[column] if column in table.columns else None, count)
        for name in ("is_query", "distractor"):
            with _member(archive, name, (count,), np.dtype(bool)) as member:
                member.write(bytes(count))
        with _member(archive, "distance", (), np.array(facts["distance"]).dtype) as member:
            member.write(np.array(facts["distance"]).tobytes())


def _member(archive: ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> IO[bytes]:
    entry = ZipInfo(f"{name}.npy")  # with a fixed time, which numpy's own would not have
    member = archive.open(entry, "w", force_zip64=True)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)
    return member


def _write_texts(archive: ZipFile, name: str, values: pd.Series | None, count: int) -> None:
    """Write cells of text of one width, in blocks; unknown ones are empty."""
    if values is None:
        width, blocks = 1, [np.zeros(count, "U1")]
    else:
        cells = ["" if missing else str(cell) for cell, missing in zip(values, values.isna(), strict=True)]
        width = max(1, max(map(len, cells)))
        blocks = (  # type: ignore[assignment]
            np.array(cells[at : at + _BLOCK], f"U{width}") for at in range(0, count, _BLOCK)
        )
    with _member(archive, name, (count,), np.dtype(f"U{width}")) as member:
        for block in blocks:
            member.write(block.tobytes())


def write_parquet(
    output: Path, table: pd.DataFrame, chunks: Chunks, size: int, dtype: str, facts: Mapping[str, Any]
) -> None:
    """Write a Parquet file atomically: all columns of the table and `vector`, a list of `size` numbers.

    Args:
        output: The file.
        table: (N,) rows.
        chunks: (n, D) vectors of these rows, in their order.
        size: D.
        dtype: "float32" or "float16".
        facts: What is to be known of the vectors; it is written as JSON into the file's metadata, as `reid_lightning`.

    Raises:
        InputError: It cannot be written, or a column cannot be stored.
    """
    rows = to_arrow(table, output)
    kind = pa.list_(pa.from_numpy_dtype(np.dtype(dtype)), size)
    schema = rows.schema.append(pa.field(VECTOR, kind)).with_metadata({"reid_lightning": json.dumps(facts)})
    with atomic_path(output) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        done = 0
        for vectors in _grouped(chunks, np.dtype(dtype)):
            values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=kind)
            part = rows.slice(done, len(vectors)).append_column(schema.field(VECTOR), values)
            writer.write_table(part.replace_schema_metadata(schema.metadata), row_group_size=_ROW_GROUP)
            done += len(vectors)


def to_arrow(table: pd.DataFrame, output: Path) -> pa.Table:
    """Return a table's columns in the types of Arrow.

    Raises:
        InputError: A column cannot be stored, or has the name of the vectors.
    """
    if VECTOR in table.columns:
        raise InputError(f"The table has a column {VECTOR}, which {output} needs for the vectors: rename it.")
    columns = {}
    for name in table.columns:
        try:
            column = pa.Array.from_pandas(table[name])
        except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
            hint = (
                "rename the files, or write an .npz file"
                if name == "path"
                else "correct or remove the column"
            )
            reason = " ".join(str(error).encode("ascii", "backslashreplace").decode().split()).rstrip(".")
            raise InputError(
                f"{output} cannot hold the column {name} of the images ({reason[:200]}): {hint}."
            ) from error
        columns[str(name)] = column.cast(pa.string()) if pa.types.is_null(column.type) else column
    return pa.table(columns)


def _grouped(chunks: Chunks, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Yield vectors in groups of `_ROW_GROUP` rows or a little more, so that a file has few groups."""
    held: list[NDArray[Any]] = []
    for vectors in chunks:
        held.append(vectors.astype(dtype, copy=False))
        if sum(map(len, held)) >= _ROW_GROUP:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)


WRITERS: dict[str, Writer] = {".npz": write_npz, ".parquet": write_parquet}
