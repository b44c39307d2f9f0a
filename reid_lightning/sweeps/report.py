"""The summary of a sweep: read, compared, written and printed."""

from pathlib import Path

import pandas as pd
from rich.console import Console

from reid_lightning.reporting.terminal import say
from reid_lightning.sweeps.leaderboard import print_summary, summarise, write_summary
from reid_lightning.sweeps.page import write_page
from reid_lightning.sweeps.reader import read_sweep
from reid_lightning.sweeps.significance import compare, marginal_means


def report_sweep(folder: str | Path, baseline: str | None = None) -> int:
    """Read, summarize, compare, write and print a sweep.

    Args:
        folder: The sweep's folder.
        baseline: The option that all others are compared with; None: the best on validation.

    Returns:
        The number of jobs without a result.

    Raises:
        InputError: There is no job below the folder, or the baseline is not one of its options.
    """
    folder, console = Path(folder), Console()
    with pd.option_context("mode.string_storage", "python"):  # names of files need not be UTF-8
        return _report(folder, baseline, console)


def _report(folder: Path, baseline: str | None, console: Console) -> int:
    jobs = read_sweep(folder)
    summary = summarise(jobs)
    comparison = compare(folder, jobs, list(summary["option"]), baseline)
    summary = summary.merge(comparison.table, on="option", how="left")
    effects = marginal_means(jobs, summary)
    write_summary(folder, jobs, summary, comparison, effects)
    page = write_page(folder, jobs, summary, comparison, effects)
    print_summary(jobs, summary, comparison, effects, console)
    say(f"summary: {page}", console=console)
    return int(jobs["failure"].notna().sum())
