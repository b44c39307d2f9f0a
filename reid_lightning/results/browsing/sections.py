"""The charts and tables of a run's page, from its last evaluation."""

import io
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from reid_lightning.data.table import camera_keys, identity_keys
from reid_lightning.errors import InputError
from reid_lightning.files import read_own
from reid_lightning.reporting.charts import Chart, Line, Mark, histogram, line_chart
from reid_lightning.reporting.history import history_charts
from reid_lightning.results.browsing.content import without_source
from reid_lightning.results.browsing.lists import Lists
from reid_lightning.results.browsing.slices import Mistaken, Slice, attribute_slices, mistaken_people
from reid_lightning.retrieval.camera_pairs import CameraPairs, PairScores
from reid_lightning.retrieval.evaluation import EvaluationRows, pairs_of_rows
from reid_lightning.retrieval.ranking import Ranking
from reid_lightning.systems.task import Run

log = logging.getLogger("reid_lightning")

LARGEST = 1e12  # of a step
BINS = 60
MOST_PAIRS = 5_000_000
"""Pairs whose distances a histogram counts; of more queries every n-th is taken."""


@dataclass(frozen=True)
class PairTable:
    """Scores of camera pairs: a line per camera of the queries, a column per camera of the gallery."""

    queries: list[str]
    gallery: list[str]
    cells: list[list[PairScores | None]]


@dataclass(frozen=True)
class Sections:
    """What stands on the page beside the queries."""

    charts: list[Chart] = field(default_factory=list)
    history: list[Chart] = field(default_factory=list)
    pairs: PairTable | None = None
    slices: list[Slice] = field(default_factory=list)
    mistaken: list[Mistaken] = field(default_factory=list)


def sections_of(run: Run, lists: Lists | None, pairs: CameraPairs | None) -> Sections:
    """Return charts and tables; those that need people are left out where nobody is known."""
    history = history_of(run.output_dir)
    if run.ranking is None or run.rows is None or lists is None:
        return Sections(history=history)
    table = run.datamodule.table
    person, _ = names_of(table)
    queries = run.rows.query.index.cpu().numpy()
    charts = [cmc_chart(run.ranking), precision_chart(run.ranking)]
    if (distances := distance_chart(run.rows, run)) is not None:
        charts.append(distances)
    first = lists.nearest[:, 0]
    counted = (run.ranking.num_matches.numpy()[lists.position] > 0) & (first >= 0)
    return Sections(
        charts,
        history,
        None if pairs is None else pair_table(pairs, table),
        attribute_slices(run.ranking, table.iloc[queries], person[queries], run.datamodule.attributes),
        mistaken_people(
            person[lists.query], person[first], table["distractor"].to_numpy(bool)[first], counted
        ),
    )


def names_of(table: pd.DataFrame) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Return the person and the camera of every row, "" where unknown; without the source where there is one only."""
    people, cameras = (
        np.array(without_source(keys(table).fillna("").tolist()), object)
        for keys in (identity_keys, camera_keys)
    )
    return people, cameras


def history_of(folder: Path) -> list[Chart]:
    """Return the learning curves of a run's folder; none where it holds no `metrics.csv`, or a damaged one."""
    history = read_history(folder)
    return [] if history is None else history_charts(history)


def read_history(folder: Path) -> pd.DataFrame | None:
    """Return what a run has logged: `step`, `epoch` and numbers; None where its `metrics.csv` is missing or damaged."""
    file = folder / "metrics.csv"
    try:
        history = pd.read_csv(io.BytesIO(read_own(file)))
        history = history.astype(float)
        placed = history[["step", "epoch"]]
        return history[((placed >= 0) & (placed < LARGEST)).all(axis=1)]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s is damaged, so that there are no learning curves: %s", file, error)
        return None


def cmc_chart(ranking: Ranking, length: int = 50) -> Chart:
    """Draw Rank-k over k."""
    points = [(k, 100 * share) for k, share in enumerate(ranking.cmc_curve(length), start=1)]
    return line_chart(
        [Line("found", points)],
        title="Cumulative matching (CMC)",
        x_label="first k images of the list",
        y_label="queries answered, percent",
        x_whole=True,
        x_range=(1, length),
        caption=f"Rank-1 {points[0][1]:.1f}, Rank-5 {points[4][1]:.1f}, Rank-10 {points[9][1]:.1f}.",
    )


def precision_chart(ranking: Ranking) -> Chart:
    """Draw how the average precision is spread over the queries."""
    known = ranking.average_precision[ranking.num_matches > 0].double().numpy()
    edges = np.linspace(0, 1, 21).tolist()
    points = [(100 * x, y) for x, y in histogram(known, edges)]
    return line_chart(
        [Line("queries", points, filled=True)],
        title="Average precision of the queries",
        x_label="average precision, percent",
        y_label="queries, percent",
        x_range=(0, 100),
        y_range=None,
        marks=[Mark(100 * float(known.mean()), f"mAP {100 * float(known.mean()):.1f}")],
    )


def distance_chart(rows: EvaluationRows, run: Run) -> Chart | None:
    """Draw the distances of pairs of one person and of two; None where there are not both."""
    every = max(1, -(-int(rows.is_query.sum()) * int((~rows.is_query).sum()) // MOST_PAIRS))
    kept = torch.ones_like(rows.is_query)
    queries = rows.is_query.nonzero().flatten()
    kept[queries] = torch.arange(len(queries), device=queries.device) % every == 0
    try:
        pairs = pairs_of_rows(rows.select(kept), run.protocol)
    except InputError:
        return None
    if not len(pairs.same) or not len(pairs.different):
        return None
    low = min(float(pairs.same.min()), float(pairs.different.min()))
    high = max(float(pairs.same.max()), float(np.quantile(pairs.different, 0.9995)))
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1).tolist()
    marks = []
    if run.calibration is not None:
        for rate in (0.01, 0.001):
            if rate in run.calibration.rates:
                marks.append(Mark(run.calibration.threshold(rate), f"{100 * rate:g} % false accepts"))
    said = "Lines show the thresholds that the validation people gave. " if marks else ""
    part = f"Pairs of every {every}. query; a" if every > 1 else "A"
    return line_chart(
        [
            Line("one person", histogram(pairs.same, edges), filled=True),
            Line("two people", histogram(pairs.different, edges), filled=True),
        ],
        title="Distances of pairs",
        x_label=f"{run.protocol.distance} distance",
        y_label="share of the pairs, percent",
        x_range=(edges[0], edges[-1]),
        marks=marks,
        caption=f"{said}{part}ll pairs that the protocol compares: {len(pairs.same):,} of one "
        f"person, {len(pairs.different):,} of two.",
    )


def pair_table(pairs: CameraPairs, table: pd.DataFrame) -> PairTable:
    """Return the scores of camera pairs as a table with the cameras' names."""
    short = without_source(sorted(camera_keys(table).dropna().unique()))
    asked = sorted({pair.query_camera for pair in pairs.pairs})
    found: dict[Any, PairScores] = {(pair.query_camera, pair.gallery_camera): pair for pair in pairs.pairs}
    cells = [[found.get((query, gallery)) for gallery in pairs.cameras] for query in asked]
    return PairTable([short[camera] for camera in asked], [short[camera] for camera in pairs.cameras], cells)
