"""A gallery embedded again with another model, in place: until the last moment it stays as it was."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from reid_lightning.errors import InputError
from reid_lightning.experiments.quiet import quiet
from reid_lightning.inference.embedding.rows import embedded
from reid_lightning.inference.gallery.columns import PROBABILITIES
from reid_lightning.inference.gallery.compact import LARGEST
from reid_lightning.inference.gallery.folder_store import FolderStore
from reid_lightning.inference.gallery.gallery import Gallery
from reid_lightning.inference.gallery.images import BATCH, load_model, preprocessing_line
from reid_lightning.inference.gallery.manifest import MANIFEST, SegmentEntry
from reid_lightning.inference.gallery.segments import COPIED_ROWS, write_segment
from reid_lightning.inference.model import Model
from reid_lightning.inference.options import require_option
from reid_lightning.reporting.terminal import say

WORK = "rebuilding"  # a gallery inside the gallery, which holds the vectors so far


def rebuild(
    address: Path | str,
    checkpoint: Path,
    *,
    drop_missing: bool = False,
    batch: int = BATCH,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
) -> Gallery:
    """Embed all images of a gallery again, with another model; ids and what is known of the images stay.

    Other processes may search meanwhile; writers wait. A command that was killed continues where it was.

    Args:
        address: The gallery, in a folder.
        checkpoint: A checkpoint file written by a run, or the folder of a saved model.
        drop_missing: Whether images whose files are gone are removed from the gallery, which is logged.
        batch: Images that are embedded at once.
        overrides: Hydra overrides of the checkpoint's config.
        trust: Packages of your own that the checkpoint's config may name; their code is run.

    Raises:
        InputError: A file is missing or cannot be read, or all are missing.
    """
    require_option("--batch", batch >= 1, "be 1 or more", batch)
    quiet()
    gallery = Gallery(address)
    store = gallery.store
    if not isinstance(store, FolderStore):
        raise InputError(
            f"{gallery.address} is in Milvus and is not embedded again in place: build a new gallery from its images."
        )
    folder = store.folder
    missing = _without_file(gallery.table())
    if len(missing) and not drop_missing:
        raise InputError(
            f"{len(missing):,} of {len(gallery):,} images of {folder} have no file any more (the first: "
            f"{missing['path'].iloc[0]}); bring them back, or remove them with --drop-missing."
        )
    if len(missing):
        gallery.remove(ids=missing["id"].tolist())
    model = load_model(checkpoint, overrides, trust)
    fingerprint, preprocessing = model.fingerprint, preprocessing_line(model)
    with store.changing():
        table = gallery.table()
        if table.empty:
            raise InputError(f"{folder} holds no images to embed; build a new gallery.")
        work = _work(folder / WORK, gallery, model, preprocessing)
        done = set(work.table()["source"]) if len(work) else set()
        for part, vectors in embedded(model, table[~table["id"].isin(done)], batch, attributes=True):
            kept = part[[PROBABILITIES]] if model.schema is not None else pd.DataFrame(index=part.index)
            work.add(vectors, kept.assign(source=part["id"].astype(float)))
            say(f"{len(work):,} of {len(table):,} images", "dim")
        segments, number = _copied(gallery, work)
        store.commit(
            segments=segments,
            next_segment=number,
            index=None,
            dimension=work.manifest.dimension,
            distance=model.protocol.distance,
            fingerprint=fingerprint,
            preprocessing=preprocessing,
            attributes=model.schema,
        )
        shutil.rmtree(folder / WORK, ignore_errors=True)
    say(f"{folder}: embedded {len(gallery):,} images again")
    return gallery


def _without_file(table: pd.DataFrame) -> pd.DataFrame:
    there = [isinstance(path, str) and os.path.isfile(path) for path in table["path"]]
    return table[~np.array(there, bool)]


def _work(place: Path, gallery: Gallery, model: Model, preprocessing: str) -> Gallery:
    """Return the gallery of vectors so far, that of a killed command where it used the same model."""
    if (place / MANIFEST).exists():
        try:
            before = Gallery(place)
            before.require_model(model.fingerprint, preprocessing)
            if (before.manifest.dtype, before.manifest.attributes) == (gallery.manifest.dtype, model.schema):
                return before
        except InputError:
            pass  # of another model, or damaged
    shutil.rmtree(place, ignore_errors=True)
    return Gallery.for_model(place, model, gallery.manifest.dtype)


def _copied(gallery: Gallery, work: Gallery) -> tuple[tuple[SegmentEntry, ...], int]:
    """Write new segments of the gallery's rows and the new vectors."""
    table = gallery.arrow()
    if PROBABILITIES in table.column_names:
        table = table.drop_columns([PROBABILITIES])
    known = work.table()
    of_source = dict(zip(known["source"].astype(int), known["id"], strict=True))
    ids = np.array([of_source[number] for number in table["id"].to_pylist()])
    if work.manifest.attributes is not None:
        table = table.append_column(PROBABILITIES, work.looks(ids)[PROBABILITIES])
    entries, number = [], gallery.manifest.next_segment
    for start in range(0, len(ids), LARGEST):
        own = ids[start : start + LARGEST]
        rows = pa.table(table.slice(start, len(own)))
        entries.append(
            write_segment(gallery.folder, work.manifest, number, _parts(work, own), len(own), rows)
        )
        number += 1
    return tuple(entries), number


def _parts(work: Gallery, ids: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(ids), COPIED_ROWS):
        yield work.vectors(ids[start : start + COPIED_ROWS])
