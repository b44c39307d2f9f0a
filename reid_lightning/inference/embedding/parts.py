"""Vectors so far, in files beside the output: what a killed command continues with, and what several share.

Images are cut into chunks of `CHUNK`. A chunk's vectors are one file, written atomically, so that a chunk is done
or not. A chunk never depends on what has run before, so the joined file is the same for any division and order of chunks.
"""

import json
import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_lightning.distributed.pieces import Pieces
from reid_lightning.files import atomic_path, read_own, require_regular

CHUNK = 1024  # images: what a kill can lose
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


class Parts(Pieces):
    """The folder of the vectors so far.

    Args:
        output: The file that they are of; the folder lies beside it.
        count: Images.
    """

    ending: ClassVar[str] = ".npy"
    holds: ClassVar[str] = "vectors"
    called: ClassVar[Mapping[str, str]] = _CALLED

    def __init__(self, output: Path, count: int) -> None:
        super().__init__(output)
        self.count = count

    def __len__(self) -> int:
        """Return how many chunks there are."""
        return -(-self.count // CHUNK)

    def begin(self, work: Mapping[str, Any]) -> None:
        """Start, or continue with what is there (see `Pieces.begin`)."""
        super().begin({"chunk": CHUNK, **work})

    def rows(self, chunk: int) -> slice:
        """Return the rows of a chunk."""
        return slice(chunk * CHUNK, min((chunk + 1) * CHUNK, self.count))

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
        with atomic_path(self.file(chunk)) as temporary, temporary.open("wb") as file:
            np.save(file, vectors)

    def damaged(self) -> dict[int, str]:
        """Return the reason for each row that was left out.

        Raises:
            InputError: A file is damaged; its chunk is removed, so that the same command makes it again.
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
                raise self.removed(path, self.file(chunk)) from None
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
            InputError: A file is damaged; it is removed, so that the same command makes it again.
        """
        for chunk in range(len(self)):
            path, rows = self.file(chunk), self.rows(chunk)
            left_out = sum(row in damaged for row in range(rows.start, rows.stop))
            try:
                require_regular(path)
                vectors = np.load(path, allow_pickle=False)
                wanted = (rows.stop - rows.start - left_out, size), np.dtype(dtype)
                if (vectors.shape, vectors.dtype) != wanted or not np.isfinite(vectors).all():
                    raise ValueError
            except (ValueError, TypeError, AttributeError, EOFError, OSError, MemoryError):
                raise self.removed(path, self._damaged(chunk)) from None
            yield rows, vectors

    def _damaged(self, chunk: int) -> Path:
        return self.folder / f"{chunk:07}.damaged.json"


def digest_of(table: pd.DataFrame) -> str:
    """Return what tells a list of images from another: names of files, their order, and what is known of each."""
    digest = sha256()
    for name in table.columns:
        digest.update(f"{name}\0{len(table)}\0".encode(errors="surrogatepass"))
        digest.update("\0".join(map(str, table[name])).encode(errors="surrogatepass"))
    return digest.hexdigest()
