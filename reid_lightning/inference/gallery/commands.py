"""What `reid gallery` does: build a gallery from images, add to it, remove from it, look at it and embed it anew."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd
from rich.console import Console
from rich.table import Table

from reid_lightning.errors import InputError
from reid_lightning.experiments.quiet import quiet
from reid_lightning.inference.answers import counted
from reid_lightning.inference.gallery.compact import LARGEST
from reid_lightning.inference.gallery.gallery import Gallery
from reid_lightning.inference.gallery.images import (
    BATCH,
    image_rows,
    load_model,
    preprocessing_line,
)
from reid_lightning.inference.gallery.index import IndexChoice
from reid_lightning.inference.gallery.manifest import DTYPES, MANIFEST
from reid_lightning.inference.options import require_choice, require_option
from reid_lightning.inference.quality import measured, require_quality, say_left_out
from reid_lightning.reporting.terminal import as_it_is, say

QUALITY = "quality"  # the column of scores
MOST_SEGMENTS = 64  # from which on `add` joins the small ones


def build(
    folder: Path,
    images: Sequence[Path],
    checkpoint: Path,
    *,
    dtype: str = "float32",
    people: bool = False,
    batch: int = BATCH,
    quality: bool = False,
    min_quality: float | None = None,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
) -> Gallery:
    """Make a gallery of images.

    Args:
        folder: The gallery; it must not be there, or be empty.
        images: Images, folders and tables, see `images.image_rows`.
        checkpoint: A checkpoint file written by a run, or the folder of a saved model.
        dtype: "float32" or "float16".
        people: Whether the folders in a folder name their people.
        batch: Images that are added at once.
        quality: Whether the column `quality` says how good each image is, from 0 to 1, see `data.quality`.
        min_quality: Least quality of an image; the others are left out and named. It implies `quality`.
        overrides: Hydra overrides of the checkpoint's config.
        trust: Packages of your own that the checkpoint's config may name; their code is run.

    Raises:
        InputError: The folder is not empty, there are no images, or one cannot be read.
    """
    require_choice("--dtype", dtype, DTYPES)
    require_option("--batch", batch >= 1, "be 1 or more", batch)
    require_quality(min_quality)
    quiet()
    if (folder / MANIFEST).exists():
        raise InputError(f"{folder} is a gallery already; add to it with `reid gallery add`.")
    table = image_rows(images, people)
    least = _least(quality, min_quality, table)
    model = load_model(checkpoint, overrides, trust)
    gallery = Gallery.for_model(folder, model, dtype)
    _add(gallery, model, table, batch, least)
    return gallery


def add(
    folder: Path,
    images: Sequence[Path],
    checkpoint: Path,
    *,
    people: bool = False,
    batch: int = BATCH,
    quality: bool = False,
    min_quality: float | None = None,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
) -> Gallery:
    """Add images to a gallery; files that are in it already are passed over, so that a command that was killed goes on.

    Args:
        folder: The gallery.
        images: Images, folders and tables, see `images.image_rows`.
        checkpoint: The model that the gallery was built with.
        people: Whether the folders in a folder name their people.
        batch: Images that are added at once.
        quality: Whether the column `quality` says how good each image is, from 0 to 1, see `data.quality`.
        min_quality: Least quality of an image; the others are left out and named. It implies `quality`.
        overrides: Hydra overrides of the checkpoint's config.
        trust: Packages of your own that the checkpoint's config may name; their code is run.

    Raises:
        InputError: The gallery was built with another model, there are no images, or one cannot be read.
    """
    require_option("--batch", batch >= 1, "be 1 or more", batch)
    require_quality(min_quality)
    quiet()
    gallery = Gallery(folder)
    table = image_rows(images, people)
    least = _least(quality, min_quality, table)
    model = load_model(checkpoint, overrides, trust)
    gallery.require_model(model.fingerprint, preprocessing_line(model))
    _add(gallery, model, table, batch, least)
    return gallery


def _least(quality: bool, min_quality: float | None, table: pd.DataFrame) -> float | None:
    """Return the least quality of an image; None if nothing is measured.

    Raises:
        InputError: The images have a column `quality` of their own.
    """
    if not quality and min_quality is None:
        return None
    if QUALITY in table.columns:
        raise InputError(
            f"The images have a column {QUALITY} of their own: rename it, or leave --quality and --min-quality out."
        )
    return min_quality or 0.0


def _add(gallery: Gallery, model: Any, table: pd.DataFrame, batch: int, least: float | None) -> None:
    from reid_lightning.inference.embedding.rows import embedded

    kind = gallery.manifest.kinds.get(QUALITY, "number")
    if least is not None and kind != "number":
        raise InputError(
            f"The column {QUALITY} of {gallery.folder} holds {kind} of your own: leave --quality and --min-quality out."
        )
    known = set(gallery.table()["path"].dropna())
    fresh = table[~table["path"].isin(known)].reset_index(drop=True)
    passed = len(table) - len(fresh)
    added, left_out = 0, list[str]()
    for start in range(0, len(fresh), batch):
        part = fresh.iloc[start : start + batch].reset_index(drop=True)
        if least is not None:
            found = measured(part["path"].tolist(), least)
            left_out += found.left_out
            part = part.assign(**{QUALITY: found.scores})[found.enough].reset_index(drop=True)
        for rows, vectors in embedded(model, part, batch, attributes=True):
            gallery.add(vectors, rows)
        added += len(part)
        if len(fresh) > batch:
            say(f"{min(start + batch, len(fresh)):,} of {len(fresh):,} images", "dim")
    if len(gallery.manifest.segments) > MOST_SEGMENTS and _has_small(gallery):
        gallery.compact()
    _index(gallery, "auto")
    say_left_out(left_out, len(fresh), least or 0.0)
    already = f" ({passed:,} were in it already)" if passed else ""
    say(f"{gallery.folder}: added {counted(added, 'image')}{already}; it holds {len(gallery):,}")


def _has_small(gallery: Gallery) -> bool:
    return sum(entry.rows < LARGEST // 2 for entry in gallery.manifest.segments) > MOST_SEGMENTS // 2


def remove(
    folder: Path,
    *,
    person: str | None = None,
    ids: Sequence[int] = (),
    files: Sequence[Path] = (),
    older_than_days: float | None = None,
    where: str | None = None,
) -> int:
    """Remove images that fulfill all conditions that are given; see `Gallery.remove`.

    Raises:
        InputError: No condition is given, one cannot be read, or a person, id or file is not in the gallery.
    """
    gallery = Gallery(folder)
    count = gallery.remove(
        person=person,
        ids=list(ids) or None,
        paths=[str(path.absolute()) for path in files] or None,
        older_than_days=older_than_days,
        where=where,
    )
    say(f"{folder}: removed {counted(count, 'image')}; it holds {len(gallery):,}")
    return count


def info(folder: Path, as_json: bool = False, check: bool = False) -> dict[str, Any]:
    """Print what a gallery is and holds.

    Args:
        folder: The gallery.
        as_json: Print JSON.
        check: Compare every file with what was written.

    Raises:
        InputError: It is not a gallery, or damaged.
    """
    gallery = Gallery(folder)
    if check:
        gallery.check()
    found = gallery.info
    if as_json:
        print(json.dumps(found, indent=2))
        return found
    page = Table(show_edge=False, pad_edge=False, show_header=False)
    page.add_column()
    page.add_column(overflow="fold")
    for name, value in found.items():
        shown = value
        if isinstance(value, dict):
            shown = ", ".join(f"{key} ({kind})" for key, kind in value.items())
        elif isinstance(value, list | tuple):
            shown = ", ".join(map(str, value))
        page.add_row(name.replace("_", " "), as_it_is(f"{shown:,}" if isinstance(shown, int) else shown))
    Console(file=sys.stdout).print(page)
    return found


def index(folder: Path, kind: IndexChoice) -> None:
    """Build an index for approximate search, or remove it; see `Gallery.index`.

    Raises:
        InputError: FAISS is not installed, or the kind is unknown.
    """
    require_choice("--kind", kind, get_args(IndexChoice))
    gallery = Gallery(folder)
    _index(gallery, kind)
    say(f"{folder}: search is {gallery.info['search']}")


def _index(gallery: Gallery, kind: IndexChoice) -> None:
    try:
        gallery.index(kind)
    except InputError as error:
        if kind != "auto":
            raise
        say(f"{gallery.folder} is searched exactly: {error}", "dim")  # FAISS is not installed
