"""The command that follows people through videos."""

from pathlib import Path
from typing import Annotated

import typer

from reid_lightning.cli.arguments import Trust


def track(
    videos: Annotated[
        list[Path],
        typer.Argument(help="Videos, folders of frames, or a folder of sequences; several share identities."),
    ],
    output: Annotated[Path, typer.Option(help="Folder for NAME.txt and NAME.mp4 of each video.")],
    model: Annotated[
        str | None, typer.Option(help="checkpoints/best.ckpt of a run, or a saved model.")
    ] = None,
    detections: Annotated[
        list[Path] | None,
        typer.Option(
            help="File of boxes for each video, in their order (frame, -1, left, top, width, height, confidence); default: "
            "det/det.txt in each folder."
        ),
    ] = None,
    no_reid: Annotated[bool, typer.Option("--no-reid", help="Only motion, without a model.")] = False,
    threshold: Annotated[
        float | None,
        typer.Option(help="Largest distance of one person; default: by the model's calibration."),
    ] = None,
    min_confidence: Annotated[float, typer.Option(help="Minimum confidence of a detection.")] = 0.4,
    memory: Annotated[float, typer.Option(help="Seconds for which a lost person is remembered.")] = 60.0,
    video: Annotated[bool, typer.Option(help="Write videos with boxes and ids.")] = True,
    override: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Setting such as evaluation.flip=true. May be repeated."),
    ] = None,
    trust: Trust = None,
) -> None:
    """Follow people through videos by their detections: who is where, within a camera and across cameras."""
    from reid_lightning.errors import InputError
    from reid_lightning.inference.tracking.command import track as track_videos

    if (model is None) != no_reid:
        raise InputError("Give either --model, or --no-reid for tracking by motion only.")
    track_videos(
        videos,
        model,
        output,
        detections or [],
        threshold,
        min_confidence,
        memory,
        video,
        override or [],
        trust or [],
    )
