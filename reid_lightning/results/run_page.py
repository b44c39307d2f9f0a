"""The pictures and the page of a run, from its last evaluation."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from reid_lightning.errors import InputError
from reid_lightning.reporting.figures import cmc_curve, learning_curves
from reid_lightning.reporting.page import Picture, write_report
from reid_lightning.reporting.ranked_lists import RankedImage, RankedList, choose_queries, ranked_lists
from reid_lightning.retrieval.evaluation import EvaluationRows, nearest_rows
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.retrieval.ranking import Ranking

QUERIES_SHOWN, IMAGES_SHOWN = 10, 10


def draw_pictures(
    ranking: Ranking,
    rows: EvaluationRows,
    protocol: EvaluationProtocol,
    table: pd.DataFrame,
    output_dir: Path,
) -> list[Picture]:
    """Draw ranked lists, CMC curve and learning curves into the run's folder.

    Args:
        ranking: Per-query results, in the order of the queries among `rows`.
        rows: What was ranked.
        protocol: How it was compared.
        table: The rows' table.
        output_dir: The run's folder; `metrics.csv` in it becomes the learning curves.

    Returns:
        The pictures in the order of the page.
    """
    lists, cmc, curves = (output_dir / f"{name}.png" for name in ("ranked_lists", "cmc", "learning_curves"))
    ranked_lists(ranked_list_rows(ranking, rows, protocol, table), lists)
    cmc_curve(ranking.cmc_curve(), cmc)
    rerank = protocol.rerank
    order = " Numbers are distances before re-ranking." if rerank and rerank.keeps_distances else ""
    pictures = [
        Picture(
            "Ranked lists",
            lists,
            "Query black, right matches green, wrong ones red; the worst queries first." + order,
        ),
        Picture("Cumulative matching characteristic", cmc, width=34),
    ]
    if (output_dir / "metrics.csv").is_file():
        with suppress(InputError):  # a run shorter than the interval of logging has no curve
            learning_curves(pd.read_csv(output_dir / "metrics.csv"), curves)
            pictures.append(Picture("Learning curves", curves))
    return pictures


def ranked_list_rows(
    ranking: Ranking, rows: EvaluationRows, protocol: EvaluationProtocol, table: pd.DataFrame
) -> list[RankedList]:
    """Return the worst and some typical queries with their nearest gallery images."""
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
                correct = bool(gallery.person_ids[column] == query.person_ids[line])
                images.append(RankedImage(Path(row["path"]), correct, distance, _caption(row)))
        row = table.iloc[int(query.index[line])]
        precision = float(ranking.average_precision[position])
        lists.append(RankedList(Path(row["path"]), _caption(row), precision, tuple(images), label))
    return lists


def _caption(row: pd.Series) -> str:
    return str(row["person_id"]) + (f" c{row['camera_id']}" if pd.notna(row["camera_id"]) else "")


def write_page(
    output_dir: Path,
    protocol: str,
    scores: Mapping[str, Mapping[str, float]],
    facts: Mapping[str, str],
    pictures: list[Picture],
    config: Mapping[str, Any],
) -> Path:
    """Write `report.html`: the run on one page."""
    return write_report(
        output_dir,
        title=f"{_short(config['backbone'])} on {', '.join(config['data']['sources'])}",
        protocol=protocol,
        scores={stage: values for stage, values in scores.items() if values},
        facts=facts,
        pictures=pictures,
        config=yaml.safe_dump(dict(config), sort_keys=False),
    )


def _short(node: Mapping[str, Any]) -> str:
    return str(node.get("name") or node["_target_"].rsplit(".", 1)[-1])
