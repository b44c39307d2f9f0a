"""How often the queries are identified, with all people enrolled and with strangers among them."""

import logging
from collections.abc import Mapping

import torch

from reid_lightning.errors import InputError
from reid_lightning.retrieval.evaluation import open_set_rows
from reid_lightning.retrieval.rerank import whole_number
from reid_lightning.systems.task import Report, Run

log = logging.getLogger("reid_lightning")


class OpenSetReport(Report):
    """Identifies the queries by the votes of their nearest gallery images (`retrieval.open_set.open_set_scores`).

    Args:
        nearest: How many images vote.

    Raises:
        ValueError: nearest is below 1.
    """

    name = "open_set"

    def __init__(self, nearest: int = 5) -> None:
        whole_number("nearest", nearest, 1)
        self.nearest = nearest

    def scores(self, run: Run) -> dict[str, float]:
        """Return the rates; empty where too few people were evaluated."""
        if run.rows is None:
            return {}
        distractor = torch.tensor(run.datamodule.table["distractor"].to_numpy(bool))
        nobody = distractor[run.rows.index.cpu()].to(run.rows.index.device)
        try:
            return open_set_rows(run.rows, self.nearest, run.protocol, nobody)
        except InputError as error:  # of a handful of people; the run's other results stand
            log.warning("report=open_set measures nothing: %s", error)
            return {}

    def line(self, scores: Mapping[str, float]) -> str | None:
        """Return the rates in a line."""
        if not scores:
            return None
        parts = [
            f"{100 * scores[f'detected_at_{percent}']:.1f} within {scores[f'threshold_at_{percent}']:.3f}, where {percent} "
            "% of strangers are taken for somebody"
            for percent in (1, 10)
        ]
        return f"open set: {100 * scores['rate']:.1f} named right with all enrolled; of half enrolled {'; '.join(parts)}"
