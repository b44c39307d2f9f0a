"""Curves of a sweep's jobs: validation over epochs, and how often a match is among the first k."""

import io
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from reid_lightning.files import read_own
from reid_lightning.reporting.sweep_charts import Curve
from reid_lightning.sweeps.leaderboard import LOGGED

LENGTH = 20
"""Ranks of a cumulative matching characteristic."""
LARGEST = 1e12  # of a number in a table
CLOSE = 1e-6  # of a Rank-1 to the one that the job reports


def learning_curves(folder: Path, jobs: pd.DataFrame) -> list[Curve]:
    """Return the validation mAP of every job by epoch, counted from 1; a job whose table is missing or damaged has none.

    Args:
        folder: The sweep's folder.
        jobs: Finished ones, as `read_sweep` returns them.
    """
    curves = []
    for job in jobs.itertuples():
        table = _columns(folder / str(job.job) / "metrics.csv", ("epoch", LOGGED))
        if len(table):
            points = tuple(zip(table["epoch"].astype(int) + 1, table[LOGGED].astype(float), strict=True))
            curves.append(Curve(str(job.option), str(job.seed), points))
    return curves


def matching_curves(folder: Path, jobs: pd.DataFrame, part: str, options: Collection[str]) -> list[Curve]:
    """Return Rank-k of every job by k, from its single queries.

    A job whose queries do not give the Rank-1 that it reports is left out: a protocol that draws galleries, for example.

    Args:
        folder: The sweep's folder; every job's `queries.csv` is read.
        jobs: Finished ones, as `read_sweep` returns them.
        part: What was ranked: "test" or "validation".
        options: Those that are wanted.
    """
    curves = []
    for job in jobs[jobs["option"].isin(list(options))].to_dict("records"):
        table = _columns(folder / str(job["job"]) / "queries.csv", ("first_match_rank", "num_matches"))
        reported = float(job.get(f"{part}/rank1", np.nan))
        found = table.loc[table["num_matches"] > 0, "first_match_rank"].to_numpy(float)
        shares = [float((found <= rank).mean()) for rank in range(1, LENGTH + 1)] if len(found) else []
        if shares and abs(shares[0] - reported) < CLOSE:
            points = tuple((float(rank), share) for rank, share in enumerate(shares, 1))
            curves.append(Curve(str(job["option"]), str(job["seed"]), points))
    return curves


def _columns(file: Path, names: Sequence[str]) -> pd.DataFrame:
    """Return the rows of a table that have numbers in some columns; none where the table or a column is missing."""
    with suppress(OSError, ValueError):
        table = pd.read_csv(io.BytesIO(read_own(file)), usecols=list(names))
        numbers = table.apply(pd.to_numeric, errors="coerce")
        return numbers.where(numbers.abs() < LARGEST).dropna()
    return pd.DataFrame(columns=list(names))
