"""What `reid gallery` does: build a gallery from images, add to it, remove from it, look at it and embed it again."""

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
from reid_lightning.inference.gallery.address import as_address, require_free
from reid_lightning.inference.gallery.gallery import Gallery
from reid_lightning.inference.gallery.images import (
    Adding,
    image_rows,
    load_model,
    preprocessing_line,
)
from reid_lightning.inference.gallery.index import IndexChoice
from reid_lightning.inference.gallery.manifest import DTYPES
from reid_lightning.inference.options import require_choice
from reid_lightning.inference.quality import measured, say_left_out
from reid_lightning.reporting.terminal import as_it_is, say

QUALITY = "quality"  # the column of scores


def build(address: Path | str, images: Sequence[Path], adding: Adding, dtype: str = "float32") -> Gallery:
    """Make a gallery of images.

    Args:
        address: Where it shall lie, as of `Gallery`; a folder must not be there, or be empty.
        images: Images, folders and tables, see `images.image_rows`.
        adding: The model, and how images are added.
        dtype: "float32" or "float16".

    Raises:
        InputError: The place is taken, there are no images, or one cannot be read.
    """
    require_choice("--dtype", dtype, DTYPES)
    quiet()
    require_free(as_address(address))
    table = image_rows(images, adding.people)
    least = _least(adding, table)
    model = load_model(adding.checkpoint, adding.overrides, adding.trust)
    gallery = Gallery.for_model(address, model, dtype)
    _add(gallery, model, table, adding.batch, least)
    return gallery


def add(address: Path | str, images: Sequence[Path], adding: Adding) -> Gallery:
    """Add images to a gallery; files that are in it already are passed over, so that a command that was killed goes on.

    Args:
        address: The gallery.
        images: Images, folders and tables, see `images.image_rows`.
        adding: The model that the gallery was built with, and how images are added.

    Raises:
        InputError: The gallery was built with another model, there are no images, or one cannot be read.
    """
    quiet()
    gallery = Gallery(address)
    table = image_rows(images, adding.people)
    least = _least(adding, table)
    model = load_model(adding.checkpoint, adding.overrides, adding.trust)
    gallery.require_model(model.fingerprint, preprocessing_line(model))
    _add(gallery, model, table, adding.batch, least)
    return gallery


def _least(adding: Adding, table: pd.DataFrame) -> float | None:
    """Return the least quality of an image; None if nothing is measured.

    Raises:
        InputError: The images have a column `quality` of their own.
    """
    if not adding.quality and adding.min_quality is None:
        return None
    if QUALITY in table.columns:
        raise InputError(
            f"The images have a column {QUALITY} of their own: rename it, or leave --quality and --min-quality out."
        )
    return adding.min_quality or 0.0


def _add(gallery: Gallery, model: Any, table: pd.DataFrame, batch: int, least: float | None) -> None:
    from reid_lightning.inference.embedding.rows import embedded

    kind = gallery.manifest.kinds.get(QUALITY, "number")
    if least is not None and kind != "number":
        raise InputError(
            f"The column {QUALITY} of {gallery.address} holds {kind} of your own: leave --quality and --min-quality out."
        )
    known = set(gallery.arrow(columns=["path"])["path"].to_pylist())
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
    gallery.join_small()
    _index(gallery, "auto")
    say_left_out(left_out, len(fresh), least or 0.0)
    already = f" ({passed:,} were in it already)" if passed else ""
    say(f"{gallery.address}: added {counted(added, 'image')}{already}; it holds {len(gallery):,}")


def remove(
    address: Path | str,
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
    gallery = Gallery(address)
    count = gallery.remove(
        person=person,
        ids=list(ids) or None,
        paths=[str(path.absolute()) for path in files] or None,
        older_than_days=older_than_days,
        where=where,
    )
    say(f"{address}: removed {counted(count, 'image')}; it holds {len(gallery):,}")
    return count


def info(address: Path | str, as_json: bool = False, check: bool = False) -> dict[str, Any]:
    """Print what a gallery is and holds.

    Args:
        address: The gallery.
        as_json: Print JSON.
        check: Compare every file with its digest.

    Raises:
        InputError: It is not a gallery, or damaged.
    """
    gallery = Gallery(address)
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


def index(address: Path | str, kind: IndexChoice) -> None:
    """Build an index for approximate search, or remove it; see `Gallery.index`.

    Raises:
        InputError: FAISS is not installed, or the kind is unknown.
    """
    require_choice("--kind", kind, get_args(IndexChoice))
    gallery = Gallery(address)
    _index(gallery, kind)
    say(f"{address}: search is {gallery.info['search']}")


def _index(gallery: Gallery, kind: IndexChoice) -> None:
    try:
        gallery.index(kind)
    except InputError as error:
        if kind != "auto":
            raise
        say(f"{gallery.address} is searched exactly: {error}", "dim")  # FAISS is not installed
