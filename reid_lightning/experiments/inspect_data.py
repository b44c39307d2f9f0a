"""A look at a data set, through the same door as a run."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from reid_lightning.config.resolve import instantiate
from reid_lightning.data.attributes import MARKET12, AttributeSchema
from reid_lightning.data.content import compare_content
from reid_lightning.data.image_cache import (
    DecodedImages,
    find_damaged,
    missing_images,
    open_images,
    refuse_damaged,
)
from reid_lightning.data.published import compare_published
from reid_lightning.data.table import (
    attribute_files,
    concatenate_tables,
    count_annotated,
    describe_protocols,
    describe_table,
    identity_keys,
)
from reid_lightning.data.table_checks import TEST, remarks
from reid_lightning.errors import InputError
from reid_lightning.experiments.compose import compose
from reid_lightning.experiments.factory import build_datamodule
from reid_lightning.experiments.feeding import feed_of_config
from reid_lightning.reporting.contact_sheet import contact_sheet
from reid_lightning.reporting.pictures import require_picture
from reid_lightning.reporting.terminal import as_it_is
from reid_lightning.results.protocol_line import small_validation

_SHOWN = 10  # damaged images that are listed


def read_table(overrides: Sequence[str]) -> tuple[pd.DataFrame, AttributeSchema]:
    """Return table and attributes of the data sets that overrides such as `data=market1501 data.root=DIR` choose."""
    return read_config_table(compose(overrides, "none"))


def read_config_table(config: dict[str, Any]) -> tuple[pd.DataFrame, AttributeSchema]:
    """Return table and attributes of a config's data sets."""
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

    Then all images are decoded, into the image cache that a run uses, and those that are missing, damaged or occur twice
    are listed.

    Raises:
        InputError: Images are missing or damaged, and `data.damaged` is not skip.
    """
    config = compose(overrides, "none")
    table, schema = read_config_table(config)
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
        if annotated := count_annotated(rows, schema):
            page.caption = as_it_is(
                f"{schema.name} attributes of {annotated:,} of {people:,} identities{files}"
            )
        Console().print(page)
        for line in _against_published(rows, str(source)):
            Console(highlight=False, soft_wrap=True).print(line, markup=False)
    for sentence in (*remarks(table), *_missing_splits(table)):
        Console(stderr=True).print(sentence, highlight=False, markup=False, soft_wrap=True)
    _check_images(table, config["data"], feed_of_config(config).interpolation)
    if said := _about_validation(config, table):
        Console(stderr=True).print(said, highlight=False, markup=False, soft_wrap=True)


def _missing_splits(table: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each part of a data set that is not there: what is to be trained on, and what tests."""
    splits = set(table["split"])
    if "train" not in splits:
        yield "There are no training images (split train): this data can evaluate a model, and not train one."
    if not splits & set(TEST):
        yield (
            "There is no test set (splits query and gallery): a run trains and validates, and reports no numbers of a test."
        )
    elif len(splits & set(TEST)) == 1:
        missing = next(split for split in TEST if split not in splits)
        yield f"There are no images of the split {missing}: a test needs query and gallery."


@contextmanager
def silent_log() -> Iterator[None]:
    """Keep the log quiet: what it would say is shown already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _about_validation(config: dict[str, Any], table: pd.DataFrame) -> str | None:
    """Return why a run would refuse the data, or a warning about a small validation; None where all is well."""
    if "train" not in set(table["split"]):
        return None
    datamodule = build_datamodule(config)
    try:
        with silent_log():
            datamodule.setup("validate")
    except InputError as error:
        return f"A run would refuse this data: {error}"
    return small_validation(datamodule, instantiate(config["evaluation"], "evaluation"))


def _against_published(rows: pd.DataFrame, source: str) -> Iterator[str]:
    """Yield what to print of the counts that the paper gives, nothing where none are known."""
    if (compared := compare_published(rows, source)) is not None:
        name = f"{compared.published.name}, {compared.published.paper}"
        yield f"{'Not as' if compared.differences else 'As'} published: {name}"
        yield from (f"  {sentence}" for sentence in compared.differences)


def _check_images(table: pd.DataFrame, data: dict[str, Any], interpolation: str) -> None:
    """Print which images are damaged and which occur twice; refuse damaged ones unless they are to be skipped."""
    paths, (height, width) = table["path"].tolist(), data["image_size"]
    images = (
        open_images(
            paths, (height, width), data["cache_limit"], skip_damaged=True, interpolation=interpolation
        )
        if data["cache"]
        else DecodedImages(paths, (height, width), missing_images(paths), interpolation)
    )
    damaged = find_damaged(images, paths)
    kept = np.setdiff1d(np.arange(len(paths)), list(damaged))
    content = compare_content(table.iloc[kept], None if images.checksums is None else images.checksums[kept])
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Missing or damaged images: {len(damaged):,} of {len(paths):,}", markup=False)
    for row in sorted(damaged)[:_SHOWN]:
        console.print(f"  {damaged[row]}", markup=False)
    console.print(f"Repeated images: {content.describe()}", markup=False)
    for sentence in content.sentences():
        console.print(f"  {sentence}", markup=False)
    if data["damaged"] != "skip":
        refuse_damaged(damaged, len(paths))


def draw_sheet(path: str | Path, overrides: Sequence[str], people: int) -> None:
    """Write a contact sheet, people x cameras (or images), of the data sets that overrides choose."""
    if people < 1:
        raise InputError(f"--people must be 1 or more, got {people}.")
    if "=" in str(path) and not Path(path).suffix:
        raise InputError(
            f"{path} is a setting: name the picture first, as in `reid data sheet people.png {path}`."
        )
    require_picture(path)
    contact_sheet(read_table(overrides)[0], path, people=people)
