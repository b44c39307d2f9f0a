"""Commands that look at finished runs."""

from pathlib import Path
from typing import Annotated

import typer


def embedding_map(
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


def sweep(
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
