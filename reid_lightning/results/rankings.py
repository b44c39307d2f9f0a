"""The nearest gallery images of every query as data: `rankings.csv` and, of strangers, `reid_test.txt`."""

from pathlib import Path

import numpy as np
import pandas as pd

from reid_lightning.reporting.cells import CsvWriter
from reid_lightning.reporting.ranked_files import RANKED, bare_names, write_ranked_files
from reid_lightning.retrieval.evaluation import EvaluationRows, nearest_rows
from reid_lightning.retrieval.neighbours import Neighbours
from reid_lightning.systems.task import Run

RANKINGS = "rankings.csv"
NEAREST, NEAREST_FILES = 20, 50
_AT_ONCE = 50_000  # rows of the file that are made at once


def write_rankings(run: Run, nearest: int) -> Path | None:
    """Write `rankings.csv`: a row for each of the nearest gallery images of every query.

    Columns: `query` (path), `rank` from 1, `gallery` (path), `distance` (before a re-ranking, where there is one that keeps
    distances), `same_person` (True or False; empty where it is not known), `query_camera` and `camera` (of the gallery's
    image; empty where unknown). Images that the protocol leaves out are left out. Beside the lists of `nearest` images
    it takes as much memory as the ranking itself, whatever the gallery's length.

    Args:
        run: After its last evaluation.
        nearest: Images per query.

    Returns:
        The file; None where nothing was ranked.
    """
    if run.rows is None:
        return None
    path = run.output_dir / RANKINGS
    _write(run.rows, nearest_rows(run.rows, nearest, run.protocol), run.datamodule.table, path)
    return path


def write_nameless(run: Run) -> None:
    """Write what a test set without identities leaves whatever the model answers: `rankings.csv` and `reid_test.txt`."""
    if run.rows is None:
        return
    found = nearest_rows(run.rows, NEAREST_FILES, run.protocol)
    names = bare_names(run.datamodule.table)
    nearest = Neighbours(found.indices[:, :NEAREST], found.distances[:, :NEAREST])
    _write(run.rows, nearest, run.datamodule.table, run.output_dir / RANKINGS)
    query, gallery = (names[side.index.cpu().numpy()] for side in (run.rows.query, run.rows.gallery))
    write_ranked_files(run.output_dir / RANKED, query, gallery, found.indices.cpu().numpy())


def _write(rows: EvaluationRows, found: Neighbours, table: pd.DataFrame, path: Path) -> None:
    query, gallery = rows.query, rows.gallery
    query_rows, gallery_rows = (side.index.cpu().numpy() for side in (query, gallery))
    asked, known = (side.person_ids.cpu().numpy() for side in (query, gallery))
    columns, distances = found.indices.cpu().numpy(), found.distances.cpu().numpy()
    paths, cameras = (table[name].to_numpy(object) for name in ("path", "camera_id"))
    step = max(1, _AT_ONCE // max(1, columns.shape[1]))
    with CsvWriter(path) as file:
        for start in range(0, len(columns), step):
            line, place = np.nonzero(columns[start : start + step] >= 0)
            line += start
            column = columns[line, place]
            same = pd.Series(asked[line] == known[column], dtype="boolean")
            file.write(
                pd.DataFrame(
                    {
                        "query": paths[query_rows[line]],
                        "rank": place + 1,
                        "gallery": paths[gallery_rows[column]],
                        "distance": distances[line, place].round(6),
                        "same_person": same.mask((asked[line] < 0) | (known[column] < 0)),
                        "query_camera": cameras[query_rows[line]],
                        "camera": cameras[gallery_rows[column]],
                    }
                )
            )
