"""Vectors so far, in files beside the output: what a killed command continues with, and what several share.

Images are cut into chunks of `CHUNK`. A chunk's vectors are one file, written whole or not at all, so that a chunk is done
or not. A chunk never depends on what has run before; the joined file is then the same whoever did which chunk and when.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, read_own, remove_leftovers, require_regular

CHUNK = 1024  # images: what a kill can lose
_WORK = "work.json"
_CALLED = {
    "format": "version of reid-lightning",
    "model": "model",
    "vectors": "preprocessing or protocol",
    "distance": "distance",
    "batch_size": "batch size",
    "dtype": "--dtype",
    "images": "list of images",
    "chunk": "version of reid-lightning",
}


class Parts:
    """The folder of the vectors so far.

    Args:
        output: The file that they are of; the folder lies beside it.
        count: Images.
    """

    def __init__(self, output: Path, count: int) -> None:
        self.folder = output.with_name(f"{output.name}.parts")
        self.count = count

    def __len__(self) -> int:
        """Return how many chunks there are."""
        return -(-self.count // CHUNK)

    def begin(self, work: Mapping[str, Any]) -> None:
        """Start, or continue with what is there.

        Args:
            work: All that the vectors depend on, plain values.

        Raises:
            InputError: There are vectors of other work.
        """
        path = self.folder / _WORK
        work = {"format": 1, "chunk": CHUNK, **work}
        try:
            before = json.loads(read_own(path))
        except (OSError, ValueError, RecursionError):  # not there, or damaged
            before = None
        if before == work:
            return
        if self.done():
            before = before if isinstance(before, dict) else {}
            other = next((name for name in work if before.get(name) != work[name]), "format")
            raise InputError(
                f"{self.folder} holds vectors of an unfinished command with another {_CALLED.get(other, other)}; repeat "
                "that command to finish it, or remove the folder to start anew."
            )
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(work, indent=1) + "\n")

    def rows(self, chunk: int) -> slice:
        """Return the rows of a chunk."""
        return slice(chunk * CHUNK, min((chunk + 1) * CHUNK, self.count))

    def done(self) -> list[int]:
        """Return the chunks that are done."""
        if not self.folder.is_dir():
            return []
        there = {path.name for path in self.folder.iterdir()}
        return [chunk for chunk in range(len(self)) if self._vectors(chunk).name in there]

    def write(self, chunk: int, vectors: NDArray[np.floating], damaged: Mapping[int, str]) -> None:
        """Write a chunk.

        Args:
            chunk: Its number.
            vectors: (n, D) of its images that could be read.
            damaged: Reason for each of the others, by its place in the chunk.

        Raises:
            InputError: It cannot be written.
        """
        if damaged:
            with atomic_path(self._damaged(chunk)) as temporary:
                temporary.write_text(json.dumps({str(row): reason for row, reason in damaged.items()}))
        else:
            self._damaged(chunk).unlink(missing_ok=True)  # of an attempt that was killed
        with atomic_path(self._vectors(chunk)) as temporary, temporary.open("wb") as file:
            np.save(file, vectors)

    def damaged(self) -> dict[int, str]:
        """Return the reason for each row that was left out.

        Raises:
            InputError: A file is damaged; its chunk is removed, so that the same command makes it anew.
        """
        found: dict[int, str] = {}
        for chunk in range(len(self)):
            path, rows = self._damaged(chunk), self.rows(chunk)
            if not os.path.lexists(path):
                continue
            try:
                reasons = json.loads(read_own(path))
                here = {rows.start + int(row): str(reason) for row, reason in reasons.items()}
                if not here or min(here) < rows.start or max(here) >= rows.stop:
                    raise ValueError
            except (ValueError, AttributeError, RecursionError, OSError):
                raise self._removed(chunk, path) from None
            found |= here
        return found

    def vectors(
        self, damaged: Mapping[int, str], size: int, dtype: str
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield the rows of every chunk, in their order, with the vectors of those that were not left out.

        Args:
            damaged: As of `damaged`.
            size: Numbers of a vector.
            dtype: Their type.

        Raises:
            InputError: A file is damaged; it is removed, so that the same command makes it anew.
        """
        for chunk in range(len(self)):
            path, rows = self._vectors(chunk), self.rows(chunk)
            left_out = sum(row in damaged for row in range(rows.start, rows.stop))
            try:
                require_regular(path)
                vectors = np.load(path, allow_pickle=False)
                wanted = (rows.stop - rows.start - left_out, size), np.dtype(dtype)
                if (vectors.shape, vectors.dtype) != wanted or not np.isfinite(vectors).all():
                    raise ValueError
            except (ValueError, TypeError, AttributeError, EOFError, OSError, MemoryError):
                raise self._removed(chunk, path) from None
            yield rows, vectors

    def _removed(self, chunk: int, damaged: Path) -> InputError:
        """Remove a chunk, of which a file is damaged; return what is to be said."""
        for path in (self._vectors(chunk), self._damaged(chunk)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return InputError(
            f"{damaged} was damaged and is removed; run the same command again to make it anew."
        )

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_leftovers(self) -> None:
        """Remove what killed processes left half written."""
        if self.folder.is_dir():
            remove_leftovers(self.folder / "*")

    def _vectors(self, chunk: int) -> Path:
        return self.folder / f"{chunk:07}.npy"

    def _damaged(self, chunk: int) -> Path:
        return self.folder / f"{chunk:07}.damaged.json"


def digest_of(table: pd.DataFrame) -> str:
    """Return what tells a list of images from another: names of files, their order, and what is known of each."""
    digest = sha256()
    for name in table.columns:
        digest.update(f"{name}\0{len(table)}\0".encode(errors="surrogatepass"))
        digest.update("\0".join(map(str, table[name])).encode(errors="surrogatepass"))
    return digest.hexdigest()
