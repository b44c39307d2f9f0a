"""The leaderboard of a sweep: mean and spread over seeds per option, printed and written."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from reid_lightning import __version__
from reid_lightning.files import atomic_path
from reid_lightning.reporting.cells import write_csv
from reid_lightning.reporting.terminal import as_it_is, say
from reid_lightning.sweeps.significance import COMPARED, LEVEL, Comparison

SELECTED_BY = "validation/mAP"
LOGGED = "val/mAP"  # its name in metrics.csv
# Columns that a summary holds, and their headings where they are printed; attributes where some job has heads for them.
SCORES = {
    SELECTED_BY: "val mAP",
    "test/mAP": "test mAP",
    "test/rank1": "Rank-1",
    "test/rank5": None,
    "test/rank10": None,
}
ATTRIBUTES = {"attributes/accuracy": "attributes", "attributes/mean_accuracy": "mA"}
COSTS = {  # name: heading and what its unit is divided by
    "cost/images_per_second": ("images/s", 1),
    "cost/peak_gpu_memory_mb": ("GPU MiB", 1),
    "cost/parameters": ("M parameters", 1e6),
    "cost/gflops": ("GFLOPs", 1),
    "cost/seconds": ("minutes", 60),
}


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
    names = numbers_of(jobs)
    finished = finished.reindex(columns=["option", *names]).astype(dict.fromkeys(names, float))
    summary = finished.groupby("option").agg(["mean", "std", "count"])
    summary.columns = summary.columns.map("/".join)
    summary = summary.reindex(jobs["option"].unique())
    counts = [f"{name}/count" for name in names]
    summary[counts] = summary[counts].fillna(0).astype(int)
    ordered = summary.sort_values(f"{SELECTED_BY}/mean", ascending=False, na_position="last", kind="stable")
    return ordered.rename_axis("option").reset_index()


def numbers_of(jobs: pd.DataFrame) -> list[str]:
    """Return the numbers that a summary of these jobs holds."""
    return [*SCORES, *(name for name in ATTRIBUTES if name in jobs), *COSTS]


def write_summary(
    folder: Path,
    jobs: pd.DataFrame,
    summary: pd.DataFrame,
    comparison: Comparison,
    effects: pd.DataFrame,
) -> None:
    """Write `sweep.csv` (a row per option) and `sweep.json` (options, effects and jobs) into the sweep's folder."""
    write_csv(summary, folder / "sweep.csv")
    content = {
        "version": __version__,
        "ordered_by": SELECTED_BY,
        "comparison": {
            "against": comparison.against,
            "level": LEVEL,
            "correction": "Holm",
            "comparisons": int(comparison.table[[f"{name}/p" for name in COMPARED]].notna().sum().sum()),
            "notes": comparison.notes,
        },
        "options": records(summary),
        "effects": records(effects),
        "jobs": records(jobs),
    }
    with atomic_path(folder / "sweep.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as plain data, what is missing as None."""
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in table.astype(object).to_dict("records")
    ]


def print_summary(
    jobs: pd.DataFrame,
    summary: pd.DataFrame,
    comparison: Comparison,
    effects: pd.DataFrame,
    console: Console,
) -> None:
    """Print a line per option, scores in percent; what is better; what it costs; the effects; and the jobs that failed.

    Names of options are folded; all else fits 80 columns.
    """
    console.print()
    console.print(_score_table(summary))
    say(finished_line(jobs, summary), "dim", console)
    if comparison.against is not None:
        console.print()
        console.print(_verdict_table(summary, comparison))
        say(
            f"differences from {comparison.against} with their {100 * LEVEL:.0f} % intervals over {comparison.over}; "
            "the words hold for all of them together",
            "dim",
            console,
        )
    for note in comparison.notes:
        say(note, "dim", console)
    if any(recorded(summary, name) for name in COSTS):
        console.print()
        console.print(_cost_table(summary))
    if len(effects) and effects["choice"].nunique() > 1:
        console.print()
        console.print(_effect_table(effects))
        say("means over all else", "dim", console)
    for job in records(jobs[jobs["failure"].notna()]):
        say(failure_of(job), "red", console)


def failure_of(job: dict[str, Any]) -> str:
    """Say which job failed and why."""
    return f"failed: job {job['job']} ({job['option']}, seed {job['seed']}): {job['failure']}"


def finished_line(jobs: pd.DataFrame, summary: pd.DataFrame) -> str:
    """Say how many jobs have finished, over how many seeds, and what orders them."""
    finished = int(jobs["failure"].isna().sum())
    spread = _seeds(_counts(summary), counted_of(jobs))
    return f"{finished} of {len(jobs)} jobs finished; {spread}; ordered by validation mAP{_protocol(jobs)}"


def _protocol(jobs: pd.DataFrame) -> str:
    """Name the protocol that all jobs share, or say that they do not."""
    found = list(jobs["protocol"].dropna().unique()) if "protocol" in jobs else []
    if len(found) > 1:
        return f"; the jobs have {len(found)} evaluation protocols, which their own pages name"
    return f"; {found[0]}" if found else ""


def counted_of(jobs: pd.DataFrame) -> str:
    """Return what the jobs of an option are, in the plural: seeds, random splits, or both crossed."""
    splits = jobs["split"].nunique() if "split" in jobs else 0
    if splits <= 1:
        return "seeds"
    return "runs (random splits x seeds)" if jobs["seed"].nunique() > splits else "random splits"


def _counts(summary: pd.DataFrame) -> "pd.Series[int]":
    return summary[[f"{name}/count" for name in (SELECTED_BY, "test/mAP")]].max(axis=1)


def _seeds(counts: "pd.Series[int]", counted: str) -> str:
    if counts.max() <= 1:
        return "one seed each, which has no spread"
    return f"± is the standard deviation over {f'{counts.max()} ' if counts.nunique() == 1 else ''}{counted}"


def recorded(summary: pd.DataFrame, name: str) -> bool:
    """Tell whether some job has measured a cost; the memory of a GPU is 0 where there was none."""
    return bool(summary[f"{name}/mean"].fillna(0).max() > 0)


def _table() -> Table:
    page = Table(title=None, show_edge=False, pad_edge=False)
    page.add_column("option", overflow="fold", min_width=12)
    return page


def headings_of(summary: pd.DataFrame) -> dict[str, str]:
    """Return the scores that are shown, by name."""
    known = SCORES | {name: heading for name, heading in ATTRIBUTES.items() if f"{name}/mean" in summary}
    return {name: heading for name, heading in known.items() if heading}


def _score_table(summary: pd.DataFrame) -> Table:
    page, counts, headings = _table(), _counts(summary), headings_of(summary)
    for heading in headings.values():
        page.add_column(heading, justify="right", no_wrap=True)
    if differ := counts.nunique() > 1:
        page.add_column("seeds", justify="right", no_wrap=True)
    for (_, row), count in zip(summary.iterrows(), counts, strict=True):
        cells = [_score(row[f"{name}/mean"], row[f"{name}/std"]) for name in headings]
        page.add_row(as_it_is(row["option"]), *cells, *([str(count)] if differ else []))
    return page


def _score(mean: float, std: float) -> str:
    """Write a fraction in percent with its spread."""
    if pd.isna(mean):
        return ""
    return f"{100 * mean:.1f}" + ("" if pd.isna(std) else f" ± {100 * std:.1f}")


def _verdict_table(summary: pd.DataFrame, comparison: Comparison) -> Table:
    page = _table()
    for name in COMPARED:
        page.add_column(str(SCORES[name]), no_wrap=True)
    for _, row in summary[summary["option"] != comparison.against].iterrows():
        page.add_row(as_it_is(row["option"]), *(_verdict(row, name) for name in COMPARED))
    return page


def _verdict(row: pd.Series, name: str) -> str:
    """Write a word, and below it the difference in percent points with its interval."""
    gap, low, high = (row[f"{name}/{part}"] for part in ("difference", "low", "high"))
    if pd.isna(gap):
        return str(row[f"{name}/word"])
    interval = "" if pd.isna(low) else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"{row[f'{name}/word']}\n{100 * gap:+.1f}{interval}"


def _cost_table(summary: pd.DataFrame) -> Table:
    page = _table()
    units = {name: unit for name, unit in COSTS.items() if recorded(summary, name)}
    for heading, _ in units.values():
        page.add_column(heading, justify="right", no_wrap=True)
    for _, row in summary.iterrows():
        page.add_row(
            as_it_is(row["option"]), *(_cost(row[f"{name}/mean"], unit) for name, (_, unit) in units.items())
        )
    return page


def _cost(mean: float, unit: float) -> str:
    if pd.isna(mean):
        return ""
    return f"{mean / unit:.0f}" if mean / unit >= 100 else f"{mean / unit:.2f}"


def _effect_table(effects: pd.DataFrame) -> Table:
    page = Table(title=None, show_edge=False, pad_edge=False)
    page.add_column("choice", overflow="fold")
    page.add_column("value", overflow="fold")
    for heading in ("val mAP", "test mAP", "over"):
        page.add_column(heading, justify="right", no_wrap=True)
    previous = None
    for row in effects.to_dict("records"):
        scores = [_score(row[name], float("nan")) for name in (SELECTED_BY, "test/mAP")]
        shown = "" if row["choice"] == previous else str(row["choice"])
        page.add_row(as_it_is(shown), as_it_is(row["value"]), *scores, str(row["combinations"]))
        previous = row["choice"]
    return page
