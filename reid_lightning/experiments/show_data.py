"""A page of a data set as a run would see it, and its table as a file."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from reid_lightning.data.findings import find
from reid_lightning.data.image_facts import ImageFacts, read_facts
from reid_lightning.data.people_sheet import MOST_PEOPLE
from reid_lightning.data.table import identity_keys
from reid_lightning.errors import InputError
from reid_lightning.experiments.compose import compose
from reid_lightning.experiments.factory import build_datamodule
from reid_lightning.experiments.inspect_data import read_config_table, silent_log
from reid_lightning.files import atomic_path, require_output
from reid_lightning.folders import require_own
from reid_lightning.reporting.cells import write_csv
from reid_lightning.results.data_page import FILES, PAGE, SHEET, Validation, write_data_page

ENDINGS = (".csv", ".parquet")


def show_data(overrides: Sequence[str], output: str | Path, table_file: str | Path | None = None) -> Path:
    """Write the page of the data sets that overrides choose.

    Args:
        overrides: Such as `data=market1501 data.root=DIR`.
        output: Folder of the page.
        table_file: CSV or Parquet file for the table with the size of each image; None: none.

    Returns:
        The page.

    Raises:
        InputError: The data cannot be read or a file not be written. Damaged images are on the page and no error.
    """
    page = Path(output) / PAGE
    if "=" in str(output):
        raise InputError(f"--output {output} is a setting: name a folder, as in `--output data_page`.")
    if table_file is not None:
        require_output(table_file, ENDINGS)
    require_output(page)
    require_own(page.parent / FILES, SHEET)
    config = compose(overrides, "none")
    table, schema = read_config_table(config)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with _bar(console) as bar:
        task = bar.add_task("Reading images", total=len(table))
        facts = read_facts(table["path"].tolist(), lambda images: bar.advance(task, images))
        if table_file is not None:
            write_table(table, facts, table_file)
        validation = validation_of(config, table, facts)
        task = bar.add_task("Comparing images", total=None)
        findings = find(table, facts)
        bar.remove_task(task)
        people = min(MOST_PEOPLE, identity_keys(table[~table["distractor"]]).nunique())
        task = bar.add_task("Writing people", total=people)
        command = shlex.join(["reid", "data", "show", *overrides])
        size = config["data"]["image_size"]
        write_data_page(
            page.parent,
            table,
            schema,
            facts,
            findings,
            validation,
            size,
            command,
            lambda people: bar.advance(task, people),
        )
    found = [f"{finding.count:,} {finding.title}" for finding in findings if finding.count]
    for line in found or ["No faults were found."]:
        console.print(line, markup=False)
    return page


def write_table(table: pd.DataFrame, facts: ImageFacts, file: str | Path) -> None:
    """Write the table with columns `image_height`, `image_width` and `image_bytes`, missing where an image cannot be read.

    Args:
        table: N rows.
        facts: Of the same rows.
        file: A CSV or Parquet file.

    Raises:
        InputError: It has another ending or cannot be written.
    """
    require_output(file, ENDINGS)
    sizes = pd.DataFrame(facts.sizes, columns=["image_height", "image_width", "image_bytes"], dtype="Int64")
    sizes.loc[list(facts.damaged)] = pd.NA
    both = pd.concat([table.reset_index(drop=True), sizes], axis=1)
    if Path(file).suffix.lower() == ".csv":
        write_csv(both, file)
        return
    for name in both.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in both.dtypes]]:
        both[name] = both[name].map(_utf8, na_action="ignore")
    with atomic_path(file) as temporary:
        both.to_parquet(temporary, index=False)


def validation_of(config: dict[str, Any], table: pd.DataFrame, facts: ImageFacts) -> Validation:
    """Return what the data module of a config holds out for validation.

    Args:
        config: Plain containers.
        table: Of its data sets, put together.
        facts: Of the same rows; images that cannot be read are left out if `data.damaged` is skip.
    """
    if len(facts.damaged) == len(table):
        return Validation("A run would refuse this data: all images are missing or damaged.")
    if facts.damaged and config["data"]["damaged"] != "skip":
        return Validation(
            "A run would refuse this data because of its missing or damaged images: replace them, or leave them out with "
            "data.damaged=skip."
        )
    bad = set(table["path"].iloc[list(facts.damaged)])
    undecoded = {"data": config["data"] | {"damaged": "error"}}
    datamodule = build_datamodule(config | undecoded)
    datamodule.share(table.loc[~table["path"].isin(bad)].reset_index(drop=True))
    try:
        with silent_log():
            datamodule.setup("validate")
    except InputError as error:
        return Validation(f"A run would refuse this data: {error}")
    if not datamodule.has_validation:
        why = "data.validation=none" if datamodule.validation is None else "no training person is known"
        return Validation(f"There is no validation: {why}.")
    split = datamodule.table["split"].to_numpy(object)
    keys = identity_keys(datamodule.table)
    held = (split == "val") & keys.notna().to_numpy()
    queries = int(datamodule.annotations.is_query[held].sum())
    people = frozenset(keys[held])
    training = keys[(split == "train") & keys.notna().to_numpy()]
    own = bool(np.any((table["split"] == "val") & table["person_id"].notna()))
    of = f"{len(people):,} of {len(people) + training.nunique():,} training people are held out"
    how = (
        "The data has a split val of its own"
        if own
        else f"data.validation={datamodule.validation:g}: {of} (data.validation_seed={datamodule.validation_seed})"
    )
    how_asked = (
        f"{datamodule.validation_queries:,} random images are queries"
        if datamodule.validation_queries is not None
        else "one image of each person and camera is a query, as long as it keeps a true match"
    )
    numbers = (
        ("people", len(people)),
        ("queries", queries),
        ("gallery", int(held.sum()) - queries),
        ("people left to train on", training.nunique()),
        ("images left to train on", len(training)),
    )
    return Validation(f"{how}; {how_asked}.", people, numbers)


def _bar(console: Console) -> Progress:
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _utf8(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
