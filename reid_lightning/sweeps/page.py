"""The page of a sweep: its tables, curves and commands, gathered from its folder."""

from pathlib import Path
from urllib.parse import quote

import pandas as pd

from reid_lightning.reporting.sweep_charts import DRAWN
from reid_lightning.reporting.sweep_page import SweepContent, Trained, write_sweep_page
from reid_lightning.sweeps.commands import command_of_sweep, commands_of_options
from reid_lightning.sweeps.curves import learning_curves, matching_curves
from reid_lightning.sweeps.header import header_of
from reid_lightning.sweeps.leaderboard import (
    COSTS,
    counted_of,
    failure_of,
    finished_line,
    headings_of,
    recorded,
    records,
)
from reid_lightning.sweeps.significance import Comparison, choices_of

LEFT = ("report.html", "train.log", "failure.txt", "metrics.json")
"""What the page links to of a job: the first one that is there."""
FILES = {
    "sweep.csv": "a row per option (CSV)",
    "sweep.json": "options, effects and jobs (JSON)",
    "multirun.yaml": "settings of the sweep",
}


def write_page(
    folder: Path,
    jobs: pd.DataFrame,
    summary: pd.DataFrame,
    comparison: Comparison,
    effects: pd.DataFrame,
) -> Path:
    """Write `sweep.html`, the sweep on one page, and return its path.

    Args:
        folder: The sweep's folder.
        jobs: As `read_sweep` returns them.
        summary: As `summarise` returns it, with the comparison's columns.
        comparison: Of its options.
        effects: As `marginal_means` returns them.
    """
    finished = jobs[jobs["failure"].isna()].drop_duplicates(["option", "seed"], keep="last")
    options = [str(option) for option in summary["option"]]
    ranked = "test" if summary["test/mAP/count"].max() > 0 else "validation"
    content = SweepContent(
        title=folder.resolve().name,
        header=[f"{finished_line(jobs, summary)}.", *header_of(folder, jobs)],
        command=command_of_sweep(folder),
        links={name: title for name, title in FILES.items() if (folder / name).is_file()},
        against=comparison.against,
        over=comparison.over,
        counted=counted_of(jobs),
        options=records(summary),
        scores=headings_of(summary),
        costs={name: unit for name, unit in COSTS.items() if recorded(summary, name)},
        choices={
            str(key): {str(option): str(value) for option, value in values.items()}
            for key, values in choices_of(jobs).items()
        },
        effects=records(effects),
        curves=learning_curves(folder, finished[finished["option"].isin(options[:DRAWN])]),
        ranks=matching_curves(folder, finished, ranked, options[:DRAWN]),
        ranked=ranked,
        runs=_runs(folder, jobs),
        commands=commands_of_options(folder, jobs),
        notes=comparison.notes,
        failures=[failure_of(job) for job in records(jobs[jobs["failure"].notna()])],
    )
    return write_sweep_page(folder / "sweep.html", content)


def _runs(folder: Path, jobs: pd.DataFrame) -> dict[str, list[Trained]]:
    """Return the runs of each option in the order of their seeds."""
    runs: dict[str, list[Trained]] = {}
    for job in jobs.to_dict("records"):
        place = str(job["job"])
        name = next((name for name in LEFT if (folder / place / name).is_file()), "")
        link = quote(f"{place}/{name}", errors="surrogateescape") if name else ""
        seed = "default" if pd.isna(job["seed"]) else str(job["seed"])
        runs.setdefault(str(job["option"]), []).append(Trained(seed, link, not pd.isna(job["failure"])))
    return runs
