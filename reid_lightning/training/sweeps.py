"""What a sweep has found: its job folders as a table, and mean and spread over seeds per option."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from rich.console import Console
from rich.table import Table

from reid_lightning import __version__
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path

log = logging.getLogger("reid_lightning")

SPLIT = "data.split"  # protocols of random splits are averaged over them as over seeds
FAILURE = "failure.txt"  # in a job's folder: why the job has no result
SELECTED_BY = "validation/mAP"
# Columns that a summary holds, and their headings where they are printed; attributes where some job has heads for them.
NUMBERS = {
    SELECTED_BY: "val mAP",
    "test/mAP": "test mAP",
    "test/rank1": "Rank-1",
    "test/rank5": None,
    "test/rank10": None,
    "cost/images_per_second": "im/s",
    "cost/parameters": "M",
}
ATTRIBUTE_NUMBERS = {"attributes/accuracy": "attributes", "attributes/mean_accuracy": "mA"}


def record_failure(folder: Path, error: Exception) -> None:
    """Write into a job's folder why it failed, so that the sweep can go on and tell at its end."""
    sentence = (str(error).strip() or "no message").splitlines()[0]
    reason = sentence if isinstance(error, InputError) else f"{type(error).__name__}: {sentence}"
    log.error("this job failed: %s", reason, exc_info=None if isinstance(error, InputError) else error)
    with atomic_path(folder / FAILURE) as temporary:
        temporary.write_text(reason + "\n")


def forget_failure(folder: Path) -> None:
    """Remove the reason of an earlier failure from the folder of a job that has succeeded."""
    (folder / FAILURE).unlink(missing_ok=True)


def read_sweep(folder: str | Path) -> pd.DataFrame:
    """Read the job folders of a sweep, or of several sweeps below one folder.

    Args:
        folder: Holds job folders at any depth; each has `.hydra/overrides.yaml` and, when finished,
            `metrics.json`.

    Returns:
        A row per job, in their order: `job` (folder relative to the sweep's), `option` (the overrides that differ
        between jobs, the seed and the split left out), `seed` (and split), `failure` (why there is no result, missing
        where there is one),
        `override/KEY` (text) for every override, and `validation/NAME`, `test/NAME`, `cost/NAME` for every
        number in `metrics.json`.

    Raises:
        InputError: There is no job below the folder.
    """
    folder = Path(folder)
    found = sorted(folder.rglob(".hydra/overrides.yaml"), key=lambda path: _natural(path.relative_to(folder)))
    if not found:
        raise InputError(f"{folder} holds no jobs of a sweep; name the folder that --multirun has written")
    jobs = pd.DataFrame([_read_job(path.parent.parent, folder) for path in found])
    jobs.insert(1, "option", _options(jobs))
    return jobs


def _read_job(folder: Path, sweep: Path) -> dict[str, Any]:
    overrides = dict(_split(line) for line in yaml.safe_load((folder / ".hydra/overrides.yaml").read_text()))
    row: dict[str, Any] = {"job": str(folder.relative_to(sweep)), "seed": overrides.pop("seed", None)}
    split = overrides.pop(SPLIT, None)
    row |= {"failure": None} | {f"override/{key}": value for key, value in overrides.items()}
    config, metrics, failure = folder / "config.yaml", folder / "metrics.json", folder / FAILURE
    if config.is_file():
        row["seed"] = str(yaml.safe_load(config.read_text())["seed"])
    if split is not None:
        row["seed"] = f"{row['seed']}, split {split}"
    if failure.is_file():
        row["failure"] = failure.read_text().strip()
    elif not metrics.is_file():
        row["failure"] = "no metrics.json: still running, or ended from outside"
    else:
        written = json.loads(metrics.read_text())
        for part in ("validation", "test", "cost", "attributes"):
            numbers = {
                name: value for name, value in written.get(part, {}).items() if isinstance(value, int | float)
            }
            row |= {f"{part}/{name}": value for name, value in numbers.items()}
    return row


def _split(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key.lstrip("+"), value


def _natural(path: Path) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]


def _options(jobs: pd.DataFrame) -> list[str]:
    """Return the name of each job's option: what sets it apart, or all overrides where nothing does."""
    overrides = jobs.filter(regex="^override/")
    differing = [name for name in overrides if overrides[name].nunique(dropna=False) > 1]
    named = overrides[differing] if differing else overrides
    return [", ".join(_short(row.dropna())) or "default" for _, row in named.iterrows()]


def _short(overrides: pd.Series) -> list[str]:
    """Return KEY=VALUE of each override, of a nested group only the last name."""
    return [f"{str(name).rsplit('/', 1)[-1]}={value}" for name, value in overrides.items()]


def summarise(jobs: pd.DataFrame) -> pd.DataFrame:
    """Average the jobs of each option over its seeds.

    Args:
        jobs: As `read_sweep` returns them.

    Returns:
        A row per option, the best validation mAP first: `option`, and for every name in `numbers_of` the columns
        `NAME/mean`, `NAME/std` (of the sample, missing below two seeds) and `NAME/count` (seeds). An option all of
        whose jobs failed has counts of 0.

    Examples:
        >>> jobs = pd.DataFrame({"option": ["a", "a", "b"], "seed": ["1", "2", "1"], "failure": None,
        ...                      "validation/mAP": [0.2, 0.4, 0.5]})
        >>> summarise(jobs)[["option", "validation/mAP/mean", "validation/mAP/count"]].values.tolist()
        [['b', 0.5, 1], ['a', 0.30000000000000004, 2]]
    """
    finished = jobs[jobs["failure"].isna()]
    finished = finished.drop_duplicates(["option", "seed"], keep="last")  # a repeated seed tells nothing new
    names = list(numbers_of(jobs))
    finished = finished.reindex(columns=["option", *names]).astype(dict.fromkeys(names, float))
    summary = finished.groupby("option").agg(["mean", "std", "count"])
    summary.columns = summary.columns.map("/".join)
    summary = summary.reindex(jobs["option"].unique())
    counts = [f"{name}/count" for name in names]
    summary[counts] = summary[counts].fillna(0).astype(int)
    ordered = summary.sort_values(f"{SELECTED_BY}/mean", ascending=False, na_position="last", kind="stable")
    return ordered.rename_axis("option").reset_index()


def numbers_of(jobs: pd.DataFrame) -> dict[str, str | None]:
    """Return the numbers that a summary of these jobs holds, and their headings where they are printed."""
    return NUMBERS | {name: heading for name, heading in ATTRIBUTE_NUMBERS.items() if name in jobs}


def write_summary(folder: Path, jobs: pd.DataFrame, summary: pd.DataFrame) -> None:
    """Write `sweep.csv` (a row per option) and `sweep.json` (options and jobs) into the sweep's folder."""
    with atomic_path(folder / "sweep.csv") as temporary:
        summary.to_csv(temporary, index=False)
    content = {
        "version": __version__,
        "ordered_by": SELECTED_BY,
        "options": _records(summary),
        "jobs": _records(jobs),
    }
    with atomic_path(folder / "sweep.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as plain data, what is missing as None."""
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in table.astype(object).to_dict("records")
    ]


def print_summary(jobs: pd.DataFrame, summary: pd.DataFrame, console: Console) -> None:
    """Print a line per option, scores in percent, and the jobs that failed with their reasons.

    Costs are images a second in training and millions of parameters.
    """
    page = Table(title=None, show_edge=False, pad_edge=False)
    page.add_column("option", overflow="fold", min_width=12)
    numbers = {name: heading for name, heading in numbers_of(jobs).items() if heading}
    for heading in numbers.values():
        page.add_column(heading, justify="right", no_wrap=True)
    counts = summary[[f"{name}/count" for name in numbers]].max(axis=1)
    differ = counts.nunique() > 1
    if differ:
        page.add_column("seeds", justify="right", no_wrap=True)
    for (_, row), count in zip(summary.iterrows(), counts, strict=True):
        cells = [_cell(name, row[f"{name}/mean"], row[f"{name}/std"]) for name in numbers]
        page.add_row(str(row["option"]), *cells, *([str(count)] if differ else []))
    failed = jobs[jobs["failure"].notna()]
    console.print()
    console.print(page)
    console.print(
        f"[dim]{len(jobs) - len(failed)} of {len(jobs)} jobs finished; {_seeds(counts)}; ordered by validation "
        "mAP[/dim]",
        highlight=False,
        soft_wrap=True,
    )
    for _, job in failed.iterrows():
        console.print(
            f"failed: job {job['job']} ({job['option']}, seed {job['seed']}): {job['failure']}",
            style="red",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _seeds(counts: "pd.Series[int]") -> str:
    if counts.max() <= 1:
        return "one seed each, which has no spread"
    return f"± is the standard deviation over {f'{counts.max()} ' if counts.nunique() == 1 else ''}seeds"


def _cell(name: str, mean: float, std: float) -> str:
    """Write a fraction in percent with its spread, and what a job costs in its unit."""
    if pd.isna(mean):
        return ""
    if name.startswith("cost/"):
        return f"{mean / 1e6:.2f}" if name == "cost/parameters" else f"{mean:.0f}"
    return f"{100 * mean:.1f}" + ("" if pd.isna(std) else f" ± {100 * std:.1f}")


def report_sweep(folder: str | Path) -> int:
    """Read, summarise, write and print a sweep.

    Returns:
        The number of jobs without a result.

    Raises:
        InputError: There is no job below the folder.
    """
    folder, console = Path(folder), Console()
    jobs = read_sweep(folder)
    summary = summarise(jobs)
    write_summary(folder, jobs, summary)
    print_summary(jobs, summary, console)
    console.print(f"summary: {folder / 'sweep.csv'}", highlight=False, soft_wrap=True)
    return int(jobs["failure"].notna().sum())
