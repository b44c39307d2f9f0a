"""Commands of a gallery on disk: build it, change it, look at it, search in it."""

import re
from pathlib import Path
from typing import Annotated

import typer

from reid_lightning.cli.arguments import ModelOverrides, Override, Trust, apart
from reid_lightning.errors import InputError

Address = Annotated[
    str,
    typer.Argument(
        metavar="GALLERY",
        help="Folder of the gallery, milvus://HOST:PORT/NAME, or a file .db of Milvus Lite.",
    ),
]
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES, then OVERRIDES",
        help="Images, folders, or tables with a column path (CSV, TSV, Parquet); then Hydra overrides, such as "
        "evaluation.flip=true.",
    ),
]
Checkpoint = Annotated[
    Path, typer.Option("--model", help="checkpoints/best.ckpt of a run, or a saved model.")
]
People = Annotated[bool, typer.Option("--people", help="The names of subfolders are the names of people.")]
Batch = Annotated[int, typer.Option(help="Images per write; a kill loses at most this many.")]
Quality = Annotated[
    bool,
    typer.Option("--quality", help="Write the quality of each image, from 0 to 1, into a column quality."),
]
MinQuality = Annotated[
    float | None, typer.Option(help="Minimum quality of an image; the others are left out and listed.")
]
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(h|d|w|y)?", re.IGNORECASE)
_DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0, "y": 365.25}


def build(
    gallery: Address,
    images: Images,
    model: Checkpoint,
    dtype: Annotated[
        str, typer.Option(help="float32, or float16 for half the space at about 1e-5 in a cosine distance.")
    ] = "float32",
    people: People = False,
    batch: Batch = 4096,
    quality: Quality = False,
    min_quality: MinQuality = None,
    override: Override = None,
    trust: Trust = None,
) -> None:
    """Make a gallery of images; people need no names."""
    from reid_lightning.inference.gallery.commands import build as build_gallery
    from reid_lightning.inference.gallery.images import Adding

    paths, overrides = apart(images, override)
    adding = Adding(model, people, batch, quality, min_quality, overrides, trust or [])
    build_gallery(gallery, paths, adding, dtype)


def add(
    gallery: Address,
    images: Images,
    model: Checkpoint,
    people: People = False,
    batch: Batch = 4096,
    quality: Quality = False,
    min_quality: MinQuality = None,
    override: Override = None,
    trust: Trust = None,
) -> None:
    """Add images; files that are in the gallery already are passed over, so that the same command continues."""
    from reid_lightning.inference.gallery.commands import add as add_images
    from reid_lightning.inference.gallery.images import Adding

    paths, overrides = apart(images, override)
    adding = Adding(model, people, batch, quality, min_quality, overrides, trust or [])
    add_images(gallery, paths, adding)


def remove(
    gallery: Address,
    person: Annotated[str | None, typer.Option(help="Images of this person.")] = None,
    id: Annotated[list[int] | None, typer.Option("--id", help="An image by its id. May be repeated.")] = None,
    file: Annotated[list[Path] | None, typer.Option(help="An image by its file. May be repeated.")] = None,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Images taken (or added) longer ago, such as 30d, 12h or 2y."),
    ] = None,
    where: Annotated[str | None, typer.Option(help="Images that fulfill a condition.")] = None,
) -> None:
    """Remove images that fulfill all conditions given, also from the files, and log what was removed."""
    from reid_lightning.inference.gallery.commands import remove as remove_images

    days = None if older_than is None else _days(older_than)
    remove_images(gallery, person=person, ids=id or [], files=file or [], older_than_days=days, where=where)


def _days(age: str) -> float:
    found = _AGE.fullmatch(age.strip())
    if found is None:
        raise InputError(f"--older-than {age} is not an age; write one such as 30d, 12h, 8w or 2y.")
    return float(found[1]) * _DAYS[(found[2] or "d").lower()]


def info(
    gallery: Address,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare every file with its digest.")] = False,
) -> None:
    """Show what a gallery is and holds."""
    from reid_lightning.inference.gallery.commands import info as show_info

    show_info(gallery, json, check)


def rebuild(
    gallery: Address,
    model: Checkpoint,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Remove images whose files no longer exist.")
    ] = False,
    batch: Batch = 4096,
    overrides: ModelOverrides = None,
    override: Override = None,
    trust: Trust = None,
) -> None:
    """Embed all images of a gallery again, with another model."""
    from reid_lightning.inference.gallery.rebuild import rebuild as rebuild_gallery

    rebuild_gallery(
        gallery,
        model,
        drop_missing=drop_missing,
        batch=batch,
        overrides=[*(overrides or []), *(override or [])],
        trust=trust or [],
    )


def index(
    gallery: Address,
    kind: Annotated[
        str, typer.Option(help="auto, hnsw or none; in a folder also ivf_pq, in Milvus ivf_flat.")
    ] = "auto",
) -> None:
    """Build an index for approximate search, or remove it."""
    from reid_lightning.inference.gallery.commands import index as index_gallery

    index_gallery(gallery, kind)  # type: ignore[arg-type]


def search(
    gallery: Address,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGES, then OVERRIDES",
            help="Images, folders, or tables with a column path (none: --like is searched for); then Hydra overrides.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", help="The model that the gallery was built with; not needed for --like without images."
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="Number of results for each image.")] = 20,
    where: Annotated[
        str | None, typer.Option(help='Condition on the gallery\'s images, such as "camera != c3".')
    ] = None,
    search: Annotated[str, typer.Option("--search", help="auto, exact, or index (approximate).")] = "auto",
    rerank: Annotated[bool, typer.Option("--rerank", help="Re-rank by k-reciprocal neighbors.")] = False,
    like: Annotated[
        str | None,
        typer.Option(help='Attributes to search for, such as "female, red upper body, no hat".'),
    ] = None,
    like_weight: Annotated[
        float,
        typer.Option(help="How much other images are ranked lower, in standard deviations of the distances."),
    ] = 1.0,
    like_least: Annotated[
        float | None, typer.Option(help="Smallest probability of each attribute; others are left out.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="File for the results: .csv, or JSON lines; default: printed.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="CSV file with a row per result.")] = None,
    json: Annotated[Path | None, typer.Option(help="File with a line of JSON per image.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Picture of the first images and their results.")] = None,
    override: Override = None,
    trust: Trust = None,
) -> None:
    """Find the images of a gallery that are nearest to images, that show people who look as wished, or both."""
    from reid_lightning.inference.gallery.search_command import search as search_gallery

    paths, overrides = apart(images or [], override)
    search_gallery(
        gallery,
        paths,
        model,
        top=top,
        where=where,
        how=search,  # type: ignore[arg-type]
        rerank=rerank,
        like=like,
        like_weight=like_weight,
        like_least=like_least,
        output=output,
        csv=csv,
        json=json,
        sheet=sheet,
        overrides=overrides,
        trust=trust or [],
    )
