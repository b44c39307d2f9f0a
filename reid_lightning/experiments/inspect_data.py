"""A look at a data set, through the same door as a run."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from reid_lightning.config.resolve import instantiate
from reid_lightning.data.attributes import MARKET12, AttributeSchema
from reid_lightning.data.table import (
    attribute_files,
    concatenate_tables,
    count_annotated,
    describe_protocols,
    describe_table,
    identity_keys,
)
from reid_lightning.data.table_checks import remarks, require_images
from reid_lightning.errors import InputError
from reid_lightning.experiments.compose import compose
from reid_lightning.reporting.contact_sheet import contact_sheet
from reid_lightning.reporting.pictures import require_picture
from reid_lightning.reporting.terminal import as_it_is


def read_table(overrides: Sequence[str]) -> tuple[pd.DataFrame, AttributeSchema]:
    """Return table and attributes of the data sets that overrides such as `data=market1501 data.root=DIR` choose."""
    config = compose(overrides, "none")
    schema = (
        instantiate(config["attributes"]["schema"], "attributes.schema") if config["attributes"] else MARKET12
    )
    tables = {
        name: instantiate(reader, f"data.sources.{name}")()
        for name, reader in config["data"]["sources"].items()
    }
    return concatenate_tables(tables, schema), schema


def print_counts(overrides: Sequence[str]) -> None:
    """Print images, identities, cameras and distractors of every split, and how many people's attributes are known.

    Raises:
        InputError: A table cannot be used, or images are missing (after the counts).
    """
    table, schema = read_table(overrides)
    for source, rows in table.groupby("source"):
        counts = describe_table(rows)
        page = Table(title=as_it_is("; ".join(describe_protocols(rows)) or source))
        page.add_column("split")
        for column in counts.columns:
            page.add_column(column, justify="right")
        for split, row in counts.iterrows():
            page.add_row(str(split), *(f"{value:,}" for value in row))
        people = identity_keys(rows[~rows["distractor"]]).nunique()
        files = "".join(f", from {file}" for file in attribute_files(rows))
        page.caption = as_it_is(
            f"{schema.name} attributes of {count_annotated(rows, schema):,} of {people:,} identities{files}"
        )
        Console().print(page)
    for sentence in remarks(table):
        Console(stderr=True).print(sentence, highlight=False, markup=False, soft_wrap=True)
    require_images(table)


def draw_sheet(path: str | Path, overrides: Sequence[str], people: int) -> None:
    """Write a contact sheet, people x cameras (or images), of the data sets that overrides choose."""
    if people < 1:
        raise InputError(f"--people must be 1 or more, got {people}.")
    require_picture(path)
    contact_sheet(read_table(overrides)[0], path, people=people)
