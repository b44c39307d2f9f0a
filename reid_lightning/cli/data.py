"""Commands that look at data sets before training."""

from pathlib import Path
from typing import Annotated

import typer

from reid_lightning.cli.arguments import Overrides


def check(overrides: Overrides = None) -> None:
    """Read a data set as a run would: count images, identities and cameras, and find damaged and repeated images."""
    from reid_lightning.experiments.inspect_data import print_counts

    print_counts(overrides or [])


def sheet(
    output: Annotated[Path, typer.Argument(help="PNG file to write.")],
    overrides: Overrides = None,
    people: Annotated[int, typer.Option(help="Rows: identities.")] = 8,
) -> None:
    """Draw a contact sheet of a data set: people x cameras, or x images where cameras are unknown."""
    from reid_lightning.experiments.inspect_data import draw_sheet

    draw_sheet(output, overrides or [], people)


def show(
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("data_page"),
    table: Annotated[
        Path | None, typer.Option(help="CSV or Parquet file for the table with the size of each image.")
    ] = None,
) -> None:
    """Write a page of a data set: counts, charts, what is wrong with it, validation, and its people."""
    from reid_lightning.experiments.show_data import show_data

    print(show_data(overrides or [], output, table))
