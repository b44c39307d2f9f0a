"""The nearest gallery images of every query, as a file."""

from collections.abc import Mapping
from typing import ClassVar

from reid_lightning.results.rankings import NEAREST, write_rankings
from reid_lightning.retrieval.rerank import whole_number
from reid_lightning.systems.task import Report, Run


class RankingsReport(Report):
    """Writes `rankings.csv` (`results.rankings.write_rankings`).

    Args:
        nearest: Images per query.

    Raises:
        ValueError: nearest is below 1.
    """

    name = "rankings"
    needs_people: ClassVar[bool] = False

    def __init__(self, nearest: int = NEAREST) -> None:
        whole_number("nearest", nearest, 1)
        self.nearest = nearest

    def write(self, run: Run, scores: Mapping[str, float]) -> None:
        """Write the file."""
        write_rankings(run, self.nearest)
