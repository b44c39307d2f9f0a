"""The command line `reid`: thin, and quick to answer because heavy imports wait for the work."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from reid_lightning.errors import InputError
from reid_lightning.experiments.malloc import keep_freed_memory

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
data_app = typer.Typer(no_args_is_help=True, help="Look at data sets before training.")
app.add_typer(data_app, name="data")
report_app = typer.Typer(no_args_is_help=True, help="Look at finished runs.")
app.add_typer(report_app, name="report")

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Hydra overrides, such as data=market1501 data.root=DIR.")
]


@app.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
def train(overrides: Overrides = None) -> None:
    """Train and evaluate; the same as train.py. `reid train --help` lists groups and options."""
    from reid_lightning.cli.train import main as train_main

    sys.argv = ["reid train", *(overrides or [])]
    train_main()


@app.command("list")
def list_options(
    group: Annotated[
        str | None, typer.Argument(help="A group, such as backbone; a pattern for all groups; or timm.")
    ] = None,
    pattern: Annotated[str | None, typer.Argument(help="Options whose names match, such as '*ibn*'.")] = None,
) -> None:
    """Show the groups of settings, or the options of one, with a sentence each."""
    from reid_lightning.config.options import listing

    print(listing(group, pattern))


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoints/best.ckpt of a run.")],
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the results; default: beside the checkpoint.")
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="File (.npz) for the vectors of the test set, with who is who.")
    ] = None,
) -> None:
    """Rank a test set with a trained model, its own or another (data=market1501 data.root=DIR)."""
    from reid_lightning.experiments.evaluate import evaluate as evaluate_checkpoint

    folder = output or checkpoint.parent.parent / "evaluation"
    evaluate_checkpoint(checkpoint, folder, overrides or [], embeddings)


@app.command()
def embed(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoints/best.ckpt of a run.")],
    images: Annotated[Path, typer.Argument(help="An image, a folder, or a table with a column path.")],
    output: Annotated[Path, typer.Argument(help="File (.npz) for the vectors.")],
    overrides: Overrides = None,
) -> None:
    """Write the vectors of any images, such as the faces in the images of a test set."""
    from reid_lightning.inference.embed import embed as embed_images

    embed_images(checkpoint, images, output, overrides or [])


@app.command()
def fuse(
    body: Annotated[Path, typer.Argument(help="Vectors of a test set, by `reid evaluate --embeddings`.")],
    face: Annotated[Path, typer.Argument(help="Vectors of faces; an image that is not in it has none.")],
    weight: Annotated[float, typer.Option(help="Of the face, from 0 to 1.")] = 0.5,
    normalisation: Annotated[str, typer.Option(help="z_score or min_max.")] = "z_score",
    rule: Annotated[str, typer.Option(help="sum, or product (with min_max).")] = "sum",
    key: Annotated[
        str, typer.Option(help="What joins images: stem of the file's name, name or path.")
    ] = "stem",
    camera_policy: Annotated[str, typer.Option(help="exclude_same_camera or allow.")] = "exclude_same_camera",
    output: Annotated[Path | None, typer.Option(help="JSON file for the scores.")] = None,
) -> None:
    """Rank a test set by body and face together, by the body alone where a face is missing."""
    from reid_lightning.inference.fuse import fuse_files

    fuse_files(
        body,
        face,
        weight=weight,
        normalisation=normalisation,  # type: ignore[arg-type]
        rule=rule,  # type: ignore[arg-type]
        key=key,  # type: ignore[arg-type]
        camera_policy=camera_policy,  # type: ignore[arg-type]
        output=output,
    )


@app.command()
def enrol(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoints/best.ckpt of a run.")],
    images: Annotated[
        Path, typer.Argument(help="Folder with a folder per person, or a table (path, person_id).")
    ],
    people: Annotated[Path, typer.Argument(help="File of enrolled people (.npz); made, or added to.")],
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option(help="Whom all images show.")] = None,
) -> None:
    """Enrol people by their images, without any training, so that `reid identify` knows them."""
    from reid_lightning.inference.identify import enrol as enrol_images

    enrol_images(checkpoint, images, people, overrides or [], name)


@app.command()
def forget(
    people: Annotated[Path, typer.Argument(help="File of enrolled people (.npz).")],
    name: Annotated[str, typer.Argument(help="Who is removed.")],
) -> None:
    """Remove a person from a file of enrolled people."""
    from reid_lightning.inference.identify import forget as forget_person

    forget_person(people, name)


@app.command()
def identify(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint with which the people were enrolled.")],
    people: Annotated[Path, typer.Argument(help="File of enrolled people (.npz).")],
    images: Annotated[Path, typer.Argument(help="An image, a folder, or a table with a column path.")],
    overrides: Overrides = None,
    k: Annotated[int, typer.Option(help="Nearest enrolled images that vote.")] = 5,
    threshold: Annotated[
        float | None, typer.Option(help="Largest distance at which a person is known; default: none.")
    ] = None,
    search: Annotated[str, typer.Option(help="exact, faiss, faiss_hnsw or faiss_ivf.")] = "exact",
    output: Annotated[
        Path | None, typer.Option(help="File for the answers: .csv, or JSON lines; default: printed.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="PNG file of the first images and their candidates.")
    ] = None,
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
    )


@report_app.command("map")
def report_map(
    embeddings: Annotated[Path, typer.Argument(help="Vectors, by `reid evaluate --embeddings`.")],
    output: Annotated[Path, typer.Argument(help="PNG file to write.")],
    people: Annotated[int, typer.Option(help="People named, those with the most images.")] = 12,
    images: Annotated[int, typer.Option(help="Images laid out, of others than these at random.")] = 2000,
    perplexity: Annotated[float, typer.Option(help="About how many neighbours each point minds.")] = 30.0,
    seed: Annotated[int, typer.Option(help="The same gives the same map.")] = 0,
    thumbnails: Annotated[bool, typer.Option(help="Draw the images on the map.")] = False,
) -> None:
    """Draw vectors as a map (t-SNE), coloured by person."""
    from reid_lightning.results.reports.embedding_map import map_file

    map_file(embeddings, output, people, images, perplexity, seed, thumbnails)


@data_app.command("check")
def data_check(overrides: Overrides = None) -> None:
    """Read a data set as a run would and count its images, identities and cameras."""
    from reid_lightning.experiments.inspect_data import print_counts

    print_counts(overrides or [])


@data_app.command("sheet")
def data_sheet(
    output: Annotated[Path, typer.Argument(help="PNG file to write.")],
    overrides: Overrides = None,
    people: Annotated[int, typer.Option(help="Rows: identities.")] = 8,
) -> None:
    """Draw a contact sheet of a data set: people x cameras, or x images where cameras are unknown."""
    from reid_lightning.experiments.inspect_data import draw_sheet

    draw_sheet(output, overrides or [], people)


@report_app.command("sweep")
def report_sweep(
    folder: Annotated[Path, typer.Argument(help="Folder of a --multirun, or one that holds several.")],
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Compare all with this option (or the part of its name that no other has); default: the best."
        ),
    ] = None,
) -> None:
    """Summarise a sweep over its seeds and say what is better than what; --multirun does the same at its end."""
    from reid_lightning.sweeps.report import report_sweep as report

    report(folder, baseline)


def main() -> None:
    """Run the command line; a user's error is one sentence and exit code 2."""
    keep_freed_memory()
    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
