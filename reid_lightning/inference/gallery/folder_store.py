"""The store of a gallery in a folder: segments of vectors, a manifest that names them, and a lock for writers."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from reid_lightning.errors import InputError
from reid_lightning.files import file_lock, require_writable
from reid_lightning.inference.gallery import removal_log
from reid_lightning.inference.gallery.attributes import Wish
from reid_lightning.inference.gallery.changes import chosen, removed
from reid_lightning.inference.gallery.compact import compacted, has_many_small, tail
from reid_lightning.inference.gallery.conditions import Condition
from reid_lightning.inference.gallery.index import IndexChoice, described, write_index
from reid_lightning.inference.gallery.manifest import LOCK, MANIFEST, Manifest, remove_strays
from reid_lightning.inference.gallery.search import Hits, Search, search_by_attributes, search_snapshot
from reid_lightning.inference.gallery.segments import changed_files, write_segment
from reid_lightning.inference.gallery.snapshot import Snapshot
from reid_lightning.inference.gallery.store import (
    Removal,
    Store,
    already_there,
    numbered,
    require_all,
    rows_to_add,
)


class FolderStore(Store):
    """A gallery in a folder, as it was when it was opened, last changed or refreshed.

    Vectors lie in files that are mapped into memory, in segments that are never changed; the manifest `gallery.json` names
    them and is replaced as a whole. A process that is killed at any moment therefore leaves the gallery as it was before or
    after its change. Any number of processes may read while one changes it; further writers wait.

    Args:
        folder: The gallery.

    Raises:
        InputError: The folder is not a gallery, or a file of it is missing, damaged or foreign.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._snapshot = Snapshot.open(folder)
        self.address = str(folder)

    @classmethod
    def create(cls, folder: Path, manifest: Manifest) -> "FolderStore":
        """Make an empty gallery.

        Raises:
            InputError: The folder is a gallery or not empty, or cannot be written to.
        """
        require_writable(folder)
        with file_lock(folder / LOCK):
            if (folder / MANIFEST).exists():
                raise already_there(folder)
            if others := [name for name in os.listdir(folder) if not name.startswith(".")]:
                raise InputError(
                    f"{folder} is not empty (it holds {sorted(others)[0]}); choose another folder."
                )
            manifest.write(folder)
        return cls(folder)

    def __len__(self) -> int:
        return len(self._snapshot)

    @property
    def manifest(self) -> Manifest:
        """What the gallery is: dimension, distance, model, columns and segments."""
        return self._snapshot.manifest

    @property
    def removals(self) -> list[dict[str, Any]]:
        """What has been removed, a dictionary for each removal, the oldest first."""
        return removal_log.committed(self.folder, self.manifest.change)

    def info(self) -> dict[str, Any]:
        """Return how many bytes and segments there are, and how they are searched."""
        manifest = self.manifest
        on_disk = sum(entry.rows for entry in manifest.segments)
        return {
            "bytes": on_disk * manifest.dimension * np.dtype(manifest.dtype).itemsize,
            "segments": len(manifest.segments),
            "removed_on_disk": on_disk - len(self),
            "search": described(self._snapshot),
            "changes": manifest.change,
        }

    def state(self) -> object:
        """Return which manifest lies there now.

        Raises:
            OSError: None does.
        """
        status = (self.folder / MANIFEST).stat()
        return status.st_ino, status.st_mtime_ns

    def refresh(self) -> None:
        """Read what other processes have changed."""
        self._snapshot = Snapshot.open(self.folder, self._snapshot)

    def add(self, vectors: NDArray[np.float32], table: pd.DataFrame) -> NDArray[np.int64]:
        """Add images as one segment, all of them or, on an error or a kill, none; see `Gallery.add`."""
        with self.changing():
            manifest = self.manifest
            rows, new = rows_to_add(table, manifest)
            ids = np.arange(manifest.next_id, manifest.next_id + len(rows))
            entry = write_segment(
                self.folder, manifest, manifest.next_segment, [vectors], len(rows), numbered(rows, ids)
            )
            self.commit(
                next_id=manifest.next_id + len(rows),
                next_segment=manifest.next_segment + 1,
                columns=(manifest.columns or {}) | new,
                segments=(*manifest.segments, entry),
            )
        return ids

    def remove(self, removal: Removal, compact: bool) -> int:
        """Remove images, log them, and return how many; see `Gallery.remove`."""
        with self.changing():
            mask = chosen(self.folder, self._snapshot, removal)
            count = int(mask.sum())
            if count:
                self.commit(**removed(self.folder, self._snapshot, mask, removal))
            if compact:
                self._compact()
        return count

    def compact(self) -> None:
        """Take removed vectors out of the files, and join small segments."""
        with self.changing():
            self._compact()

    def join_small(self) -> None:
        """Join the newest small segments once there are many; see `Gallery.join_small`."""
        if has_many_small(self.manifest.segments):
            with self.changing():
                self._compact(tail(self.manifest.segments))
                if has_many_small(self.manifest.segments):  # the last ones are the smallest
                    self._compact()

    def index(self, kind: IndexChoice) -> str | None:
        """Build an index of FAISS, or remove it; see `Gallery.index`."""
        with self.changing():
            entry = write_index(self.folder, self._snapshot, kind, self.manifest.change + 1)
            if entry != self.manifest.index:
                self.commit(index=entry)
        return None if entry is None else entry.kind

    def check(self) -> None:
        """Compare every file with its digest.

        Raises:
            InputError: A file has been changed.
        """
        wrong = [path for entry in self.manifest.segments for path in changed_files(self.folder, entry)]
        if wrong:
            raise InputError(
                f"{wrong[0]} is damaged: its content is not what was written; restore it from a copy."
            )

    def search(
        self,
        queries: NDArray[np.float32],
        top: int,
        condition: Condition | None,
        search: Search,
        rerank: bool,
        wish: Wish | None,
    ) -> Hits:
        """Return the nearest images of each query (Q, D); see `Gallery.search`."""
        return search_snapshot(self.folder, self._snapshot, queries, top, condition, search, rerank, wish)

    def search_by_attributes(self, top: int, condition: Condition | None, wish: Wish) -> Hits:
        """Return the images that have wanted attributes with the most certainty."""
        return search_by_attributes(self._snapshot, top, condition, wish)

    def take(self, ids: NDArray[np.int64]) -> pa.Table:
        """Return what is known of some images, in the order of `ids`.

        Raises:
            InputError: An id is not in the gallery.
        """
        positions = self._snapshot.positions_of(ids)
        require_all(self.address, "id", ids[positions < 0].tolist(), ())
        return self._snapshot.table.take(pa.array(positions))

    def where(self, condition: Condition | None, columns: Sequence[str] | None = None) -> pa.Table:
        """Return what is known of all images that fulfill a condition, in the order of their ids."""
        table = self._snapshot.table if columns is None else self._snapshot.table.select(list(columns))
        return table.filter(pa.array(self._snapshot.matching(condition)))

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the (n, D) vectors of images that are there, in float32."""
        return self._snapshot.vectors(self._snapshot.positions_of(ids))

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the gallery for changes, as it is now; other writers wait."""
        with file_lock(self.folder / LOCK, f"waiting for another process that changes {self.folder}"):
            self.refresh()
            remove_strays(self.folder, self.manifest)
            removal_log.trim(self.folder, self.manifest.change)
            yield

    def commit(self, **values: Any) -> None:
        """Write the manifest with changed values, inside `changing`; files that it no longer names are removed."""
        self.manifest.changed(**values).write(self.folder)
        self.refresh()
        remove_strays(self.folder, self.manifest)

    def _compact(self, first: int = 0) -> None:
        values = compacted(self.folder, self._snapshot, first)
        if values:
            self.commit(**values)
