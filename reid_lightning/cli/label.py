"""The command of a loop with a person in it: questions about pairs of images, and a table from the answers."""

from pathlib import Path
from typing import Annotated

import typer

from reid_lightning.cli.arguments import ModelOverrides, Trust
from reid_lightning.errors import InputError


def label(
    place: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES|FOLDER",
            help="A folder of images, or a table with a column path; with --apply, a folder that was written before.",
        ),
    ],
    overrides: ModelOverrides = None,
    model: Annotated[
        Path | None, typer.Option(help="checkpoints/best.ckpt of a run, or a saved model.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="New folder for the questions; with --apply, the table (.csv; default: people.csv)."
        ),
    ] = None,
    answers: Annotated[int, typer.Option(help="Maximum number of pairs to ask about.")] = 100,
    after: Annotated[
        Path | None, typer.Option(help="Folder of the round before, whose answers stay valid.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Make a table of people from the answers.")] = False,
    filled: Annotated[
        Path | None, typer.Option(help="The filled CSV; default: answers.csv in the folder.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Largest mean distance of two groups that are joined; default: as in reid cluster."
        ),
    ] = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Compare neighborhoods, not vectors.")] = False,
    cameras: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN", help="Regular expression whose first group is the camera in a file's name."
        ),
    ] = None,
    least: Annotated[
        int,
        typer.Option(help="With --apply, minimum number of images of a person; smaller groups get no name."),
    ] = 2,
    seed: Annotated[int, typer.Option(help="Seed for the order of questions with equal weight.")] = 0,
    trust: Trust = None,
) -> None:
    """Ask whether pairs of images show one person, the most informative pairs first, and name people by the answers."""
    if apply:
        from reid_lightning.inference.label.apply import apply as apply_answers

        for option, given in (("--model", model), ("--after", after), ("--cameras", cameras)):
            if given is not None:
                raise InputError(f"{option} belongs to asking, not to --apply: leave it out.")
        apply_answers(place, filled, output, threshold, least)
        return
    if model is None or output is None:
        missing = "--model" if model is None else "--output"
        raise InputError(
            f"`reid label` needs {missing} to ask about images, or --apply to use the answers of a folder."
        )
    from reid_lightning.inference.label.ask import ask

    ask(
        place,
        model,
        output,
        overrides or [],
        answers,
        after,
        filled,
        threshold,
        rerank,
        cameras,
        seed,
        trust or [],
    )
