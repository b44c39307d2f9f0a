"""The pictures and the page of a run, from its last evaluation."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from reid_lightning.engine.loggers import sweep_name
from reid_lightning.errors import InputError
from reid_lightning.reporting.figures import cmc_curve, learning_curves
from reid_lightning.reporting.page import Picture, write_report
from reid_lightning.reporting.ranked_lists import RankedImage, RankedList, choose_queries, ranked_lists
from reid_lightning.results.browsing.content import DATA
from reid_lightning.results.browsing.page import FOLDER, browse
from reid_lightning.results.browsing.sections import Sections, history_of, read_history
from reid_lightning.results.page_header import header_of, links_of
from reid_lightning.results.summary import RunResult
from reid_lightning.retrieval.camera_pairs import CameraPairs
from reid_lightning.retrieval.evaluation import EvaluationRows, nearest_rows
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.retrieval.ranking import Ranking
from reid_lightning.systems.task import Run

QUERIES_SHOWN, IMAGES_SHOWN = 10, 10
DRAWN = {"ranked_lists", "cmc", "learning_curves"}
"""Pictures for loggers, in whose place the page has charts and every query."""
_KNOWN = "Query black, right matches green, wrong ones red; the worst queries first."
_STRANGERS = "Query black; it is not known whom the images show, so none is marked as right or wrong."


def draw_pictures(
    ranking: Ranking | None,
    rows: EvaluationRows,
    protocol: EvaluationProtocol,
    table: pd.DataFrame,
    output_dir: Path,
    curves_too: bool = True,
) -> list[Picture]:
    """Draw ranked lists, CMC curve and learning curves into the run's folder.

    Args:
        ranking: Per-query results, in the order of the queries among `rows`; None where nobody is known.
        rows: What was ranked.
        protocol: How it was compared.
        table: The rows' table.
        output_dir: The run's folder; `metrics.csv` in it becomes the learning curves.
        curves_too: Whether curves are drawn beside the ranked lists; the page has them as charts.

    Returns:
        The pictures in the order of the page.
    """
    lists, cmc, curves = (output_dir / f"{name}.png" for name in ("ranked_lists", "cmc", "learning_curves"))
    ranked_lists(ranked_list_rows(ranking, rows, protocol, table), lists)
    rerank = protocol.rerank
    order = " Numbers are distances before re-ranking." if rerank and rerank.keeps_distances else ""
    pictures = [
        Picture(
            "Ranked lists",
            lists,
            (_KNOWN if ranking else _STRANGERS) + order,
        ),
    ]
    if not curves_too:
        return pictures
    if ranking is not None:
        cmc_curve(ranking.cmc_curve(), cmc)
        pictures.append(Picture("Cumulative matching characteristic", cmc, width=34))
    history = read_history(output_dir)
    if history is not None:
        with suppress(InputError):  # a run shorter than the interval of logging has no curve
            learning_curves(history, curves)
            pictures.append(Picture("Learning curves", curves))
    return pictures


def ranked_list_rows(
    ranking: Ranking | None, rows: EvaluationRows, protocol: EvaluationProtocol, table: pd.DataFrame
) -> list[RankedList]:
    """Return the worst and some typical queries with their nearest gallery images; evenly spaced ones of strangers."""
    if ranking is None:
        count = int(rows.is_query.sum())
        chosen = [
            (at, "")
            for at in np.unique(np.linspace(0, count - 1, QUERIES_SHOWN).round().astype(int)).tolist()
        ]
    else:
        chosen = choose_queries(ranking.average_precision.numpy(), QUERIES_SHOWN)
    positions = torch.tensor([position for position, _ in chosen])
    query, gallery = rows.query.select(positions), rows.gallery
    found = nearest_rows(rows, IMAGES_SHOWN, protocol, positions)
    lists = []
    for line, (position, label) in enumerate(chosen):
        images = []
        for column, distance in zip(
            found.indices[line].tolist(), found.distances[line].tolist(), strict=True
        ):
            if column >= 0:
                row = table.iloc[int(gallery.index[column])]
                correct = (
                    None if ranking is None else bool(gallery.person_ids[column] == query.person_ids[line])
                )
                images.append(RankedImage(Path(row["path"]), correct, distance, _caption(row)))
        row = table.iloc[int(query.index[line])]
        precision = None if ranking is None else float(ranking.average_precision[position])
        lists.append(RankedList(Path(row["path"]), _caption(row), precision, tuple(images), label))
    return lists


def _caption(row: pd.Series) -> str:
    who = str(row["person_id"]) if pd.notna(row["person_id"]) else Path(row["path"]).stem
    return who + (f" c{row['camera_id']}" if pd.notna(row["camera_id"]) else "")


def is_full(config: Mapping[str, Any]) -> bool:
    """Whether a run's page holds every query: as `page` says, and where it says nothing in no job of a sweep."""
    return (config.get("page") or ("brief" if sweep_name() else "full")) == "full"


def write_page(
    run: Run,
    result: RunResult,
    facts: Mapping[str, str],
    pictures: Sequence[Picture],
    pairs: CameraPairs | None = None,
    again: bool = False,
) -> Path:
    """Write `report.html`: the run on one page, with every query in the folder beside it unless `page=brief`.

    Page and folder change places with the earlier ones when both are whole.

    Args:
        run: After its last evaluation.
        result: Its numbers.
        facts: What else is worth a line.
        pictures: Of the run, its tasks and its reports, in the order of the page.
        pairs: Scores of camera pairs, where there are any.
        again: Whether the run has had its page; the earlier one stays where the queries cannot be written.

    Raises:
        InputError: The page cannot be written.
    """
    config, folder = run.config, run.output_dir / FOLDER
    full = is_full(config)
    with ExitStack() as page:
        sections, mark = (
            browse(run, folder, _title(config), result.protocol, pairs, full, page, again)
            if run.rows is not None
            else (Sections(history=history_of(run.output_dir)), "")
        )
        replaced = DRAWN if mark else DRAWN - {"ranked_lists"}
        how = (
            "`reid report run FOLDER`, with the folder of this page, writes the page with every query."
            if run.rows is not None
            else ""
        )
        path = write_report(
            run.output_dir,
            title=_title(config),
            protocol=result.protocol,
            scores={"validation": result.validation, "test": result.test},
            intervals=result.intervals,
            facts=facts,
            pictures=[picture for picture in pictures if picture.path.stem not in replaced],
            config=yaml.safe_dump(dict(config), sort_keys=False),
            header=header_of(run),
            sections=sections,
            data=FOLDER if mark else None,
            mark=mark,
            brief="" if full else how,
            links=links_of(run.output_dir),
        )
    if not mark and (folder / DATA).is_file():
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier evaluation
    return path


def _title(config: Mapping[str, Any]) -> str:
    return f"{_short(config['backbone'])} on {', '.join(config['data']['sources'])}"


def _short(node: Mapping[str, Any]) -> str:
    return str(node.get("name") or node["_target_"].rsplit(".", 1)[-1])
