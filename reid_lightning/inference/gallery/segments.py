"""A segment: vectors in one file that is mapped into memory, and what is known of them in another; never changed."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, require_regular, writing
from reid_lightning.inference.gallery.columns import KINDS
from reid_lightning.inference.gallery.manifest import Manifest, SegmentEntry
from reid_lightning.retrieval.blocks import Block, squared_lengths

COPIED_ROWS = 1 << 13  # vectors in memory while a segment is written
_WRONG = (OSError, ValueError, EOFError, SyntaxError, MemoryError, pa.ArrowException)


class Segment:
    """An open segment, which stays readable when another process removes its files.

    Args:
        folder: The gallery.
        manifest: That names the segment.
        entry: The segment.

    Raises:
        FileNotFoundError: One of its files is not there.
        InputError: One of its files is not what the manifest says.
    """

    def __init__(self, folder: Path, manifest: Manifest, entry: SegmentEntry) -> None:
        self.entry, self._folder, self._kinds = entry, folder, manifest.kinds
        shape = (entry.rows, manifest.dimension)
        self.vectors: NDArray[Any] = _array(entry.path(folder, "npy"), shape, np.dtype(manifest.dtype), True)
        """(n, D), mapped into memory."""
        self.squares: NDArray[np.float32] = _array(
            entry.path(folder, "squares.npy"), shape[:1], np.dtype(np.float32)
        )
        """(n,) their squared lengths."""
        self._parquet = self._open(entry.path(folder, "parquet"))
        self.alive: NDArray[np.bool_] | None = None
        """(n,) which have not been removed; None: all."""
        if entry.removed:
            path = entry.path(folder, entry.removed_ending)
            removed = _array(path, (entry.removed,), np.dtype(np.int64))
            if removed.min() < 0 or removed.max() >= entry.rows or len(np.unique(removed)) < len(removed):
                raise _damaged(path, "it names rows that are not there")
            self.alive = np.ones(entry.rows, bool)
            self.alive[removed] = False

    @cached_property
    def table(self) -> pa.Table:
        """What is known of every row, removed ones included; columns that came later are not in it."""
        path = self.entry.path(self._folder, "parquet")
        try:
            table = self._parquet.read()
        except _WRONG as error:
            raise _damaged(path, error) from error
        ids = table["id"].to_numpy()
        if table["id"].null_count or (np.diff(ids) <= 0).any() or ids[0] < 0:
            raise _damaged(path, "its ids are not in order")
        return table

    @property
    def block(self) -> Block:
        """Its vectors for a search."""
        return Block(self.vectors, self.squares, self.alive)

    def _open(self, path: Path) -> Any:
        try:
            require_regular(path)
            parquet = pq.ParquetFile(path, memory_map=True)
        except FileNotFoundError:
            raise
        except _WRONG as error:
            raise _damaged(path, error) from error
        if parquet.metadata.num_rows != self.entry.rows:
            raise _damaged(path, f"it has {parquet.metadata.num_rows} rows in place of {self.entry.rows}")
        schema = parquet.schema_arrow
        if "id" not in schema.names or schema.field("id").type != KINDS["integer"]:
            raise _damaged(path, "it has no column of ids")
        for name, kind in self._kinds.items():
            if name in schema.names and schema.field(name).type != KINDS[kind]:
                raise _damaged(path, f"its column {name} is not of the kind {kind}")
        return parquet


def write_segment(
    folder: Path, manifest: Manifest, number: int, parts: Iterable[NDArray[Any]], rows: int, table: pa.Table
) -> SegmentEntry:
    """Write the files of a new segment; it belongs to the gallery once a manifest names it.

    Args:
        folder: The gallery.
        manifest: Dimension and type of the vectors.
        number: Of the segment.
        parts: The vectors, some rows at a time.
        rows: How many they are together.
        table: What is known of each, with the column `id`.

    Raises:
        InputError: The disk is full, or the folder cannot be written to.
    """
    entry = SegmentEntry(number, rows, 0, 0, {})
    dtype = np.dtype(manifest.dtype)
    squares = np.empty(rows, np.float32)
    done = 0
    with atomic_path(entry.path(folder, "npy")) as temporary, temporary.open("wb") as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": (rows, manifest.dimension)}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            for start in range(0, len(part), COPIED_ROWS):
                stored = np.ascontiguousarray(part[start : start + COPIED_ROWS], dtype)
                squares[done : done + len(stored)] = squared_lengths(stored)
                file.write(stored.data)
                done += len(stored)
        file.flush()
    assert done == rows == len(table)
    write_array(entry.path(folder, "squares.npy"), squares)
    path = entry.path(folder, "parquet")
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
    for ending in entry.endings:
        entry.digests[ending] = file_digest(entry.path(folder, ending))
    return entry


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as `.npy` atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)
        file.flush()


def file_digest(path: Path) -> str:
    """Return the xxh3 of a file.

    Raises:
        OSError: It is not there, no file, or cannot be read.
    """
    require_regular(path)
    digest = xxhash.xxh3_128()
    with writing(path), path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def changed_files(folder: Path, entry: SegmentEntry) -> Iterator[Path]:
    """Yield the files of a segment whose content is not what was written."""
    for ending in entry.endings:
        path = entry.path(folder, ending)
        try:
            same = entry.digests.get(ending) == file_digest(path)
        except OSError:
            same = False
        if not same:
            yield path


def _array(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], mapped: bool = False) -> NDArray[Any]:
    try:
        require_regular(path)
        # "c": nothing is written, but torch takes only arrays that could be.
        array = np.load(path, mmap_mode="c" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise
    except _WRONG as error:
        raise _damaged(path, error) from error
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
        raise _damaged(path, f"it holds another array than {shape} of {dtype}")
    return array.view(np.ndarray)


def _damaged(path: Path, reason: object) -> InputError:
    reason = (reason.strerror if isinstance(reason, OSError) else None) or reason
    said = " ".join(str(reason).split()).rstrip(".")
    return InputError(
        f"{path} is damaged or foreign ({said}); restore it from a copy, or build the gallery again from its images."
    )
