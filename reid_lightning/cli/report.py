"""Commands that look at finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from reid_lightning.cli.arguments import Overrides, Trust


def embedding_map(
    embeddings: Annotated[Path, typer.Argument(help="Vectors, by `reid evaluate --embeddings`.")],
    output: Annotated[Path, typer.Argument(help="PNG file to write.")],
    people: Annotated[
        int, typer.Option(help="Number of people with a color, those with the most images.")
    ] = 12,
    images: Annotated[int, typer.Option(help="Number of images; of other people a random selection.")] = 2000,
    perplexity: Annotated[
        float, typer.Option(help="Perplexity: about the number of neighbors of each point.")
    ] = 30.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same map.")] = 0,
    thumbnails: Annotated[bool, typer.Option(help="Draw the images on the map.")] = False,
) -> None:
    """Draw vectors as a map (t-SNE), colored by person."""
    from reid_lightning.results.reports.embedding_map import map_file

    map_file(embeddings, output, people, images, perplexity, seed, thumbnails)


def run(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    overrides: Overrides = None,
    trust: Trust = None,
) -> None:
    """Write a run's page again, with every query to look into; a job of a sweep has a brief one until then."""
    from reid_lightning.experiments.finished_run import require_run

    require_run(folder)  # before what takes seconds to import
    from reid_lightning.experiments.report_run import report_run

    report_run(folder, overrides or [], trust or [])


def compare(
    first: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    second: Annotated[Path, typer.Argument(help="Folder of another run, tested on the same data.")],
    output: Annotated[
        Path, typer.Option(help="Folder to write; an earlier comparison in it is replaced.")
    ] = Path("comparison"),
) -> None:
    """Compare two runs query by query: what one gets right and the other wrong, their lists side by side."""
    from reid_lightning.experiments.finished_run import require_two

    require_two((first, second), output)  # before what takes seconds to import
    from reid_lightning.experiments.compare_runs import compare_runs

    compare_runs(first, second, output)


def wandb(
    project: Annotated[str, typer.Option(help="W&B project.")] = "reid-lightning",
    entity: Annotated[str | None, typer.Option(help="Team or user; default: the logged-in user.")] = None,
    name: Annotated[str, typer.Option(help="Name of the view.")] = "Re-identification",
    output: Annotated[Path | None, typer.Option(help="JSON file to write instead; needs no login.")] = None,
) -> None:
    """Save a ready W&B workspace: scores over epochs by choice, choices against scores, costs, tables of the test."""
    from reid_lightning.sweeps.wandb_workspace import report_wandb

    report_wandb(project, entity, name, output)


def sweep(
    folder: Annotated[Path, typer.Argument(help="Folder of a --multirun, or a folder with several of them.")],
    baseline: Annotated[
        str | None,
        typer.Option(help="Compare all with this option (or a unique part of its name); default: the best."),
    ] = None,
) -> None:
    """Summarize a sweep over its seeds and say what is better than what; --multirun does the same at its end."""
    from reid_lightning.sweeps.job_files import job_files

    job_files(folder)  # before what takes seconds to import
    from reid_lightning.sweeps.report import report_sweep as report

    report(folder, baseline)
