"""Commands of a trained model: evaluate, embed, calibrate, save and export it."""

from pathlib import Path
from typing import Annotated

import typer

from reid_lightning.cli.arguments import ModelOverrides, Override, Overwrite, Trust, apart
from reid_lightning.errors import InputError


def evaluate(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="checkpoints/best.ckpt of a run, a saved model, or small, which comes along."),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CHECKPOINT]... [OVERRIDES]...",
            help="More models, which are compared; Hydra overrides, such as data=market1501 data.root=DIR, or several data "
            "sets: data=market1501:DIR,table:FILE.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results; default: in the run's folder, one for each set of overrides."
        ),
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="File (.npz) for the vectors of the test set, with their people.")
    ] = None,
    rankings: Annotated[
        int | None,
        typer.Option(
            help="Nearest gallery images of each query in rankings.csv; 0: no such file; default: 20."
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            help="Only the K-th of N parts, for several machines; the last one ranks them. auto: from torchrun or SLURM.",
        ),
    ] = None,
    trust: Trust = None,
) -> None:
    """Rank a test set with a trained model, its own or another (data=market1501 data.root=DIR), or compare several."""
    from reid_lightning.experiments.evaluate import EvaluationSettings
    from reid_lightning.experiments.matrix import evaluate_all

    settings = EvaluationSettings(embeddings=embeddings, trust=trust or [], rankings=rankings)
    if code := evaluate_all(checkpoint, arguments or [], output, settings, part):
        raise typer.Exit(code)


def import_model(
    file: Annotated[Path, typer.Argument(help="The other project's file of weights.")],
    output: Annotated[Path, typer.Argument(help="The checkpoint (.ckpt) to write.")],
    project: Annotated[
        str, typer.Option("--from", help="torchreid, fastreid, bot, transreid, solider or clip_reid.")
    ],
    name: Annotated[str, typer.Option(help="Name of the network in that project, such as osnet_x1_0.")],
) -> None:
    """Make a checkpoint of another project's trained model, with its preprocessing and its evaluation."""
    from reid_lightning.experiments.imports.write import import_file

    import_file(file, project, name, output)


def embed(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoints/best.ckpt of a run, or a saved model.")],
    images: Annotated[Path, typer.Argument(help="An image, a folder, or a table with a column path.")],
    output: Annotated[
        Path, typer.Argument(help="File for the vectors: .npz, or .parquet with all columns of a table.")
    ],
    overrides: ModelOverrides = None,
    processes: Annotated[
        int, typer.Option(help="Processes; each gets a part of the threads, or its own GPU.")
    ] = 1,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            help="Only the K-th of N parts, for several machines; the last one joins them. auto: from torchrun or SLURM.",
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, or float16 for half the space.")] = "float32",
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave out images that cannot be read, and list them.")
    ] = False,
    trust: Trust = None,
) -> None:
    """Write the vectors of any images, however many; the same command continues after a kill."""
    from reid_lightning.inference.embedding.command import embed as embed_images

    embed_images(
        checkpoint,
        images,
        output,
        overrides or [],
        trust or [],
        processes=processes,
        part=part,
        dtype=dtype,
        skip_damaged=skip_damaged,
    )


def fuse(
    body: Annotated[Path, typer.Argument(help="Vectors of a test set, by `reid evaluate --embeddings`.")],
    face: Annotated[
        Path, typer.Argument(help="Vectors of faces; an image that is not in this file has no face.")
    ],
    weight: Annotated[float, typer.Option(help="Weight of the face, from 0 to 1.")] = 0.5,
    normalisation: Annotated[
        str, typer.Option("--normalization", "--normalisation", help="z_score or min_max.")
    ] = "z_score",
    rule: Annotated[str, typer.Option(help="sum, or product (with min_max).")] = "sum",
    key: Annotated[
        str,
        typer.Option(help="How images of body and face are matched: by stem of the file name, name or path."),
    ] = "stem",
    camera_policy: Annotated[str, typer.Option(help="exclude_same_camera or allow.")] = "exclude_same_camera",
    min_quality: Annotated[
        float | None,
        typer.Option(
            help="Minimum quality of a face's image, from 0 to 1; without a face, only the body is compared."
        ),
    ] = None,
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
        min_quality=min_quality,
        output=output,
    )


def calibrate(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="checkpoints/best.ckpt of a run, a saved model, or small, which comes along."),
    ],
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES, FOLDER, then OVERRIDES",
            help="Folders with a folder per person, or tables (path, person_id, camera_id); the folder for the saved model; "
            "then Hydra overrides of evaluation, such as evaluation.flip=true.",
        ),
    ],
    overwrite: Overwrite = False,
    override: Override = None,
    trust: Trust = None,
) -> None:
    """Measure what distances mean on labeled images, and save the model with its probabilities and thresholds."""
    from reid_lightning.inference.calibrate import calibrate as calibrate_model

    paths, overrides = apart(arguments, override)
    if len(paths) < 2:
        raise InputError(
            "`reid calibrate` needs images of known people, and then a folder for the saved model."
        )
    calibrate_model(checkpoint, paths[:-1], paths[-1], overrides, trust or [], overwrite)


def save(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoints/best.ckpt of a run, or a saved model.")],
    folder: Annotated[Path, typer.Argument(help="Folder for model.safetensors, config.json and README.md.")],
    license: Annotated[
        str | None, typer.Option(help="License for the card, such as cc-by-nc-4.0; default: not stated.")
    ] = None,
    labels: Annotated[bool, typer.Option(help="Keep the names of the training people.")] = True,
    overwrite: Overwrite = False,
    trust: Trust = None,
) -> None:
    """Save a trained model as a folder to use, copy or publish: safetensors, JSON and a model card."""
    from reid_lightning.inference.save import save as save_model

    save_model(checkpoint, folder, license, labels, trust or [], overwrite)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoints/best.ckpt of a run, or a saved model.")],
    output: Annotated[
        Path,
        typer.Argument(
            help="The file: .onnx, .xml (OpenVINO) or .pt2 (torch.export); a JSON file is written beside it."
        ),
    ],
    overrides: ModelOverrides = None,
    format: Annotated[
        str | None, typer.Option(help="onnx, openvino or torch_export; default: by the extension.")
    ] = None,
    int8: Annotated[
        Path | None,
        typer.Option(
            metavar="IMAGES", help="8 bits; typical images to measure the ranges (a folder, or a table)."
        ),
    ] = None,
    preprocess: Annotated[
        str,
        typer.Option(
            help="inside: the file takes uint8 RGB; outside: float32 normalized with ImageNet's values, as in trackers."
        ),
    ] = "inside",
    attributes: Annotated[
        bool, typer.Option("--attributes", help="Also output attributes and traits.")
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option(help="Images for the comparison of file and model; default: generated people."),
    ] = None,
    verify: Annotated[
        bool, typer.Option(help="Compare the file with the model, and reject a file that differs.")
    ] = True,
    labels: Annotated[bool, typer.Option(help="Keep the names of the training people in the file.")] = True,
    trust: Trust = None,
) -> None:
    """Write a model as ONNX, for OpenVINO or for torch.export, with its preprocessing inside, and compare it with itself."""
    from reid_lightning.inference.export.export import export as write

    write(
        checkpoint,
        output,
        format,
        int8,
        preprocess,
        attributes,
        images,
        verify,
        labels,
        overrides or [],
        trust or [],
    )


def push(
    folder: Annotated[Path, typer.Argument(help="Folder of a saved model, see `reid save`.")],
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on Hugging Face; created if it does not exist.")],
    private: Annotated[
        bool, typer.Option("--private/--public", help="Visibility of a new repository.")
    ] = True,
    revision: Annotated[str | None, typer.Option(help="Branch; default: main.")] = None,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
) -> None:
    """Upload a saved model, and exported files beside it, to Hugging Face."""
    from reid_lightning.inference.push import push as upload
    from reid_lightning.reporting.terminal import say

    say(upload(folder, repo, private, revision, message))
