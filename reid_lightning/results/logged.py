"""What the loggers are shown of a run's last evaluation: tables of its queries and curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.data.table import camera_keys
from reid_lightning.reporting.matrix_charts import heat_map
from reid_lightning.reporting.tables import Curve, Image, Table
from reid_lightning.results.browsing.content import without_source
from reid_lightning.results.browsing.lists import choose, error_kinds
from reid_lightning.results.browsing.sections import PairTable, names_of
from reid_lightning.retrieval.camera_pairs import CameraPairs
from reid_lightning.retrieval.evaluation import EvaluationRows, nearest_rows
from reid_lightning.retrieval.ranking import Ranking
from reid_lightning.systems.task import Run

QUERIES, LISTS = 60, 20
"""Queries of the table, and those of them whose lists are shown; a quarter are the worst, the others from worst to best."""
LISTED = 10
KINDS = {
    "r": "right",
    "w": "wrong person first",
    "d": "distractor first",
    "f": "none in the first ten",
    "n": "no match",
}
LENGTH = 50  # of the CMC
CMC_AXES = ("k", "share of the queries")


@dataclass(frozen=True, eq=False)
class _Lists:
    """Queries that are shown, the worst first, with their nearest images; images are rows of the table."""

    query: NDArray[np.int64]  # (N,)
    nearest: NDArray[np.int64]  # (N, k), k at most LISTED; -1 for none
    distances: list[list[float]]
    right: NDArray[np.bool_]  # (N, k) shows the query's person
    ranking: Ranking  # of these queries
    people: NDArray[np.object_]  # of every row of the table
    cameras: NDArray[np.object_]
    nobody: NDArray[np.bool_]
    paths: NDArray[np.object_]


def tables_of(run: Run, pairs: CameraPairs | None = None) -> dict[str, Table]:
    """Return `query_table`, `lists` and, where there are any, `camera_pairs` of a run; none where nobody is known."""
    if run.ranking is None or run.rows is None:
        return {}
    lists = _lists_of(run.ranking, run.rows, run)
    tables = {"query_table": _queries(lists), "lists": _ranked(lists)}
    if pairs is not None:
        names = without_source(sorted(camera_keys(run.datamodule.table).dropna().unique()))
        tables["camera_pairs"] = _pairs(pairs, names)
    return tables


def _lists_of(ranking: Ranking, rows: EvaluationRows, run: Run) -> _Lists:
    precision = ranking.average_precision.numpy()
    some = choose(precision, len(precision), QUERIES)
    chosen = torch.from_numpy(some[np.argsort(precision[some], kind="stable")])
    found = nearest_rows(rows, LISTED, run.protocol, chosen)
    columns = found.indices.cpu().numpy()
    nearest = np.where(columns >= 0, rows.gallery.index.cpu().numpy()[columns], -1)
    query = rows.query.index.cpu().numpy()[chosen]
    table = run.datamodule.table
    people, cameras = names_of(table)
    nobody = table["distractor"].to_numpy(bool)
    return _Lists(
        query,
        nearest,
        found.distances.tolist(),
        right=(nearest >= 0) & ~nobody[nearest] & (people[nearest] == people[query][:, None]),
        ranking=ranking.select(chosen),
        people=people,
        cameras=cameras,
        nobody=nobody,
        paths=table["path"].to_numpy(),
    )


def _queries(lists: _Lists) -> Table:
    ranking = lists.ranking
    kinds = error_kinds(lists.nearest[:, 0], lists.people, lists.query, lists.nobody, ranking)
    rows = [
        [
            Image(lists.paths[query]),
            lists.people[query],
            lists.cameras[query],
            _number(ranking.average_precision[place]),
            _number(ranking.first_match_rank[place]),
            " ".join(str(rank) for rank in np.flatnonzero(lists.right[place]) + 1),
            int(ranking.num_matches[place]),
            ", ".join(KINDS[letter] for letter in kinds[place]),
        ]
        for place, query in enumerate(lists.query)
    ]
    heads = ("query", "person", "camera", "AP", "first match", f"ranks up to {LISTED}", "matches", "error")
    return Table(heads, rows)


def _ranked(lists: _Lists) -> Table:
    rows = []
    for place in choose(lists.ranking.average_precision.numpy(), len(lists.query), LISTS):
        query = lists.query[place]
        line: list[Image | None] = [
            Image(lists.paths[query], f"{lists.people[query]} {lists.cameras[query]}")
        ]
        shown = zip(lists.nearest[place], lists.distances[place], lists.right[place], strict=True)
        for image, distance, right in shown:
            if image < 0:
                line.append(None)
                continue
            who = "distractor" if lists.nobody[image] else lists.people[image]
            sign = "✓" if right else "✗"
            line.append(Image(lists.paths[image], f"{sign} {distance:.3f} {who} {lists.cameras[image]}"))
        rows.append([*line, *[None] * (LISTED + 1 - len(line))])  # a gallery may be smaller
    return Table(("query", *(f"rank {k}" for k in range(1, LISTED + 1))), rows)


def curves_of(run: Run) -> dict[str, Curve]:
    """Return the cumulative matching curve; none where nobody is known."""
    if run.ranking is None:
        return {}
    points = [(float(k), share) for k, share in enumerate(run.ranking.cmc_curve(LENGTH), start=1)]
    return {"cmc": Curve("Cumulative matching", *CMC_AXES, points)}


def _pairs(found: CameraPairs, names: Sequence[str]) -> Table:
    rows = [
        [names[pair.query_camera], names[pair.gallery_camera], pair.queries, pair.mean_ap, *(pair.interval or (None, None)),
         pair.rank1, *(pair.rank1_interval or (None, None))]
        for pair in found.pairs
    ]  # fmt: skip
    heads = (
        "query camera",
        "camera",
        "queries",
        "mAP",
        "mAP low",
        "mAP high",
        "Rank-1",
        "Rank-1 low",
        "Rank-1 high",
    )
    return Table(heads, rows)


def draw_pairs(table: PairTable, path: Path) -> None:
    """Draw the mAP of camera pairs as a table of colors, the queries' cameras down."""
    values = {
        (f"query {query}", gallery): cell.mean_ap
        for query, line in zip(table.queries, table.cells, strict=True)
        for gallery, cell in zip(table.gallery, line, strict=True)
        if cell is not None
    }
    heat_map([f"query {query}" for query in table.queries], table.gallery, values, path)


def _number(value: Tensor) -> float | None:
    return float(value) if torch.isfinite(value) else None
