"""What a change of a gallery does: check vectors, choose the images to remove, mark their rows and log them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.arguments import shown
from reid_lightning.errors import InputError
from reid_lightning.inference.gallery import removal_log
from reid_lightning.inference.gallery.conditions import All
from reid_lightning.inference.gallery.index import without
from reid_lightning.inference.gallery.manifest import Manifest, SegmentEntry
from reid_lightning.inference.gallery.segments import file_digest, write_array
from reid_lightning.inference.gallery.snapshot import Snapshot
from reid_lightning.inference.gallery.store import Removal, require_all

Vectors = Tensor | NDArray[Any] | Sequence[Sequence[float]]


def checked_vectors(vectors: Vectors, manifest: Manifest, address: str) -> NDArray[np.float32]:
    """Return vectors as (n, D) float32.

    Raises:
        InputError: They have another dimension than the gallery's, or one is not finite in the gallery's type.
    """
    try:
        if isinstance(vectors, Tensor):
            vectors = vectors.detach().cpu().float().numpy()
        with np.errstate(over="ignore"):
            given = np.asarray(vectors)
            if given.dtype.kind not in "biufO":  # text and complex numbers would become numbers
                raise TypeError
            rows = np.ascontiguousarray(given, np.float32)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"Vectors must be a table of numbers with a row per image, got {shown(vectors)}."
        ) from None
    if rows.ndim != 2 or rows.shape[1] != manifest.dimension:
        raise InputError(
            f"Vectors have the shape {rows.shape}; {address} holds vectors of {manifest.dimension} numbers, a row each."
        )
    with np.errstate(over="ignore"):
        finite = np.isfinite(rows.astype(manifest.dtype)).all(axis=1)
    if not finite.all():
        raise InputError(
            f"Vector {int(np.flatnonzero(~finite)[0])} is not finite, or too large for {manifest.dtype}; the model has "
            "diverged, or the gallery needs float32."
        )
    return rows


def as_ids(ids: Any) -> NDArray[np.int64]:
    """Return ids of images as (n,).

    Raises:
        InputError: They are not whole numbers, in a list or an array of one dimension.
    """
    try:
        found = np.asarray(ids.detach().cpu() if isinstance(ids, Tensor) else ids)
    except (TypeError, ValueError):
        found = np.empty((0, 0))
    whole = found.dtype.kind in "iu" or not found.size
    if found.ndim != 1 or not whole:
        raise InputError(
            f"Ids must be whole numbers, in a list or an array of one dimension, got {shown(ids)}."
        )
    return found.astype(np.int64)


def chosen(folder: Path, snapshot: Snapshot, removal: Removal) -> NDArray[np.bool_]:
    """Return which positions of a gallery are to be removed.

    Raises:
        InputError: A person, id or file is not there.
    """
    conditions = removal.conditions
    mask = snapshot.matching(All(tuple(conditions)) if conditions else None).copy()
    for column, wanted in removal.named.items():
        mask &= _named(folder, snapshot, column, wanted)
    return mask


def _named(folder: Path, snapshot: Snapshot, column: str, wanted: list[Any]) -> NDArray[np.bool_]:
    """Return which positions have one of the wanted values, all of which must be there."""
    values = snapshot.table[column].to_pandas().astype(object)  # its own type refuses what is not Unicode
    found = values.isin(wanted).to_numpy(bool)
    there = set(values[found & snapshot.alive])
    require_all(folder, column, wanted, there)
    return found


def removed(folder: Path, snapshot: Snapshot, mask: NDArray[np.bool_], removal: Removal) -> dict[str, Any]:
    """Write the files and the line of the log that mark positions as removed.

    Args:
        folder: The gallery, which the caller holds for changes.
        snapshot: Its state.
        mask: The positions.
        removal: Why, for the log.

    Returns:
        The values of the manifest that change. Nothing is removed until it is written.
    """
    manifest, change, start = snapshot.manifest, snapshot.manifest.change + 1, 0
    segments = []
    for segment in snapshot.segments:
        entry = segment.entry
        gone = mask[start : start + entry.rows]
        start += entry.rows
        segments.append(_marked(folder, entry, gone, segment.alive, change) if gone.any() else entry)
    rows = snapshot.table.filter(pa.array(mask))
    index = without(folder, manifest.index, rows["id"].to_numpy(), change)
    entry_of_log = removal.entry(change) | {
        "images": len(rows),
        "ids": rows["id"].to_pylist(),
        "paths": rows["path"].to_pylist(),
    }
    removal_log.append(folder, entry_of_log)
    return {"segments": tuple(segments), "index": index}


def _marked(
    folder: Path, entry: SegmentEntry, gone: NDArray[np.bool_], alive: NDArray[np.bool_] | None, change: int
) -> SegmentEntry:
    """Write which rows of a segment have been removed, and return its entry."""
    rows = np.flatnonzero(gone if alive is None else gone | ~alive)
    digests = {name: digest for name, digest in entry.digests.items() if not name.startswith("removed")}
    marked = replace(entry, removed=len(rows), removed_in=change, digests=digests)
    path = marked.path(folder, marked.removed_ending)
    write_array(path, rows.astype(np.int64))
    digests[marked.removed_ending] = file_digest(path)
    return marked
