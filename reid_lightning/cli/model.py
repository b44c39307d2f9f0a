"""Commands of a trained model: evaluate it, and let it work on images."""

from pathlib import Path
from typing import Annotated

import typer

from reid_lightning.cli.arguments import Overrides, Trust


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoints/best.ckpt of a run, or a saved model.")],
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results; default: in the run's folder, one for each set of overrides."
        ),
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="File (.npz) for the vectors of the test set, with who is who.")
    ] = None,
    trust: Trust = None,
) -> None:
    """Rank a test set with a trained model, its own or another (data=market1501 data.root=DIR)."""
    from reid_lightning.experiments.evaluate import evaluate as evaluate_checkpoint
    from reid_lightning.experiments.evaluate import folder_of

    folder = output or folder_of(checkpoint, overrides or [])
    evaluate_checkpoint(checkpoint, folder, overrides or [], embeddings, trust or [])


def import_model(
    file: Annotated[Path, typer.Argument(help="The other project's file of weights.")],
    output: Annotated[Path, typer.Argument(help="The checkpoint (.ckpt) to write.")],
    project: Annotated[str, typer.Option("--from", help="torchreid, fastreid or bot.")],
    name: Annotated[str, typer.Option(help="The network as the project calls it, such as osnet_x1_0.")],
) -> None:
    """Make a checkpoint of another project's trained model, with its preprocessing and its evaluation."""
    from reid_lightning.experiments.imports.write import import_file

    import_file(file, project, name, output)


def embed(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoints/best.ckpt of a run, or a saved model.")],
    images: Annotated[Path, typer.Argument(help="An image, a folder, or a table with a column path.")],
    output: Annotated[Path, typer.Argument(help="File (.npz) for the vectors.")],
    overrides: Overrides = None,
    trust: Trust = None,
) -> None:
    """Write the vectors of any images, such as the faces in the images of a test set."""
    from reid_lightning.inference.embed import embed as embed_images

    embed_images(checkpoint, images, output, overrides or [], trust or [])


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


def enrol(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoints/best.ckpt of a run, or a saved model.")],
    images: Annotated[
        Path, typer.Argument(help="Folder with a folder per person, or a table (path, person_id).")
    ],
    people: Annotated[Path, typer.Argument(help="File of enrolled people (.npz); made, or added to.")],
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option(help="Whom all images show.")] = None,
    trust: Trust = None,
) -> None:
    """Enrol people by their images, without any training, so that `reid identify` knows them."""
    from reid_lightning.inference.identify import enrol as enrol_images

    enrol_images(checkpoint, images, people, overrides or [], name, trust or [])


def forget(
    people: Annotated[Path, typer.Argument(help="File of enrolled people (.npz).")],
    name: Annotated[str, typer.Argument(help="Who is removed.")],
) -> None:
    """Remove a person from a file of enrolled people."""
    from reid_lightning.inference.identify import forget as forget_person

    forget_person(people, name)


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
    )


def save(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoints/best.ckpt of a run, or a saved model.")],
    folder: Annotated[Path, typer.Argument(help="Folder for model.safetensors, config.json and README.md.")],
    license: Annotated[
        str | None, typer.Option(help="For the card, such as cc-by-nc-4.0; default: not stated.")
    ] = None,
    labels: Annotated[bool, typer.Option(help="Keep the names of the people of the training.")] = True,
    trust: Trust = None,
) -> None:
    """Save a trained model as a folder to use, copy or publish: safetensors, JSON and a model card."""
    from reid_lightning.inference.save import save as save_model

    save_model(checkpoint, folder, license, labels, trust or [])
