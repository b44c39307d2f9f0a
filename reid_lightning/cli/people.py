"""Commands about the people of images: enroll and name them, compare, group and describe them."""

from pathlib import Path
from typing import Annotated

import typer

from reid_lightning.cli.arguments import ModelOverrides, Trust


def enrol(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoints/best.ckpt of a run, or a saved model.")],
    images: Annotated[
        Path, typer.Argument(help="Folder with a folder per person, or a table (path, person_id).")
    ],
    people: Annotated[Path, typer.Argument(help="File of enrolled people (.npz); created, or extended.")],
    overrides: ModelOverrides = None,
    name: Annotated[str | None, typer.Option(help="Name of the person in all images.")] = None,
    min_quality: Annotated[
        float | None,
        typer.Option(help="Minimum quality of an image, from 0 to 1; the others are left out and listed."),
    ] = None,
    trust: Trust = None,
) -> None:
    """Enrol people by their images, without any training, so that `reid identify` knows them."""
    from reid_lightning.inference.enrol import enrol as enrol_images

    enrol_images(checkpoint, images, people, overrides or [], name, trust or [], min_quality)


def forget(
    people: Annotated[Path, typer.Argument(help="File of enrolled people (.npz).")],
    name: Annotated[str, typer.Argument(help="Name of the person to remove.")],
) -> None:
    """Remove a person from a file of enrolled people."""
    from reid_lightning.inference.enrol import forget as forget_person

    forget_person(people, name)


def identify(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint with which the people were enrolled.")],
    people: Annotated[Path, typer.Argument(help="File of enrolled people (.npz).")],
    images: Annotated[Path, typer.Argument(help="An image, a folder, or a table with a column path.")],
    overrides: ModelOverrides = None,
    k: Annotated[int, typer.Option(help="Nearest enrolled images that vote.")] = 5,
    threshold: Annotated[
        float | None, typer.Option(help="Largest distance at which a person is accepted.")
    ] = None,
    false_accepts: Annotated[
        float | None,
        typer.Option(
            help="Share of unknown people who are accepted, instead of --threshold; default: 0.01 where the "
            "checkpoint is calibrated, and 1 (everybody is named) otherwise."
        ),
    ] = None,
    per_person: Annotated[
        str, typer.Option(help="Compare all vectors of a person, or their mean: all or mean.")
    ] = "all",
    search: Annotated[str, typer.Option(help="exact, faiss, faiss_hnsw or faiss_ivf.")] = "exact",
    output: Annotated[
        Path | None, typer.Option(help="File for the results: .csv, or JSON lines; default: printed.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="PNG file of the first images and their candidates.")
    ] = None,
    trust: Trust = None,
) -> None:
    """Name the people of images by their nearest enrolled images."""
    from reid_lightning.inference.identify import identify as identify_images

    identify_images(
        checkpoint,
        people,
        images,
        overrides or [],
        k,
        threshold,
        search,  # type: ignore[arg-type]
        output,
        sheet,
        trust or [],
        false_accepts,
        per_person,  # type: ignore[arg-type]
    )


def compare(
    first: Annotated[Path, typer.Argument(help="An image, a folder, or a table with a column path.")],
    second: Annotated[Path, typer.Argument(help="The same; each image is compared with each.")],
    model: Annotated[Path, typer.Option(help="checkpoints/best.ckpt of a run, or a saved model.")],
    overrides: ModelOverrides = None,
    false_accepts: Annotated[
        float | None,
        typer.Option(
            help="Share of pairs of different people that are accepted as one person; default: 0.01."
        ),
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="A fixed largest distance instead.")] = None,
    prior: Annotated[float, typer.Option(help="Prior: share of all pairs that show one person.")] = 0.5,
    output: Annotated[
        Path | None, typer.Option(help="File for the results: .csv, or JSON lines; default: printed.")
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="Print a table instead.")] = False,
    trust: Trust = None,
) -> None:
    """Say whether two images show one person: distance, probability and a verdict at a stated false accept rate."""
    from reid_lightning.inference.compare import compare as compare_images

    compare_images(
        first, second, model, overrides or [], false_accepts, threshold, prior, output, table, trust or []
    )


def cluster(
    images: Annotated[Path, typer.Argument(help="A folder, or a table with a column path.")],
    model: Annotated[Path, typer.Option(help="checkpoints/best.ckpt of a run, or a saved model.")],
    overrides: ModelOverrides = None,
    method: Annotated[str, typer.Option(help="agglomerative or dbscan.")] = "agglomerative",
    false_accepts: Annotated[
        float | None,
        typer.Option(
            help="Share of pairs of different people within the largest distance; default: estimated from the images."
        ),
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="A fixed largest distance instead.")] = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Compare neighborhoods, not vectors.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="File for the results: .csv, or JSON lines; default: printed.")
    ] = None,
    folders: Annotated[
        Path | None, typer.Option(help="New folder, with a folder of copies for each group.")
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="Picture of the largest groups, one per row.")] = None,
    trust: Trust = None,
) -> None:
    """Group images by the person whom they show, when nobody is named and the number of people is not known."""
    from reid_lightning.inference.cluster import cluster_images

    cluster_images(
        images,
        model,
        overrides or [],
        method,  # type: ignore[arg-type]
        false_accepts,
        threshold,
        rerank,
        output,
        folders,
        sheet,
        trust or [],
    )


def describe(
    images: Annotated[Path, typer.Argument(help="An image, a folder, or a table with a column path.")],
    model: Annotated[Path, typer.Option(help="checkpoints/best.ckpt of a run, or a saved model.")],
    overrides: ModelOverrides = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="File: .csv in the annotations' coding, or JSON lines; default: JSON lines, printed."
        ),
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="Print a table instead.")] = False,
    sheet: Annotated[
        Path | None, typer.Option(help="Picture of the first images, with their descriptions.")
    ] = None,
    trust: Trust = None,
) -> None:
    """Predict the attributes of people with their confidence, and their numeric traits."""
    from reid_lightning.inference.describe import describe as describe_images

    describe_images(images, model, overrides or [], output, table, sheet, trust or [])
