"""What the multi-depth descriptor shows of itself; `filter_selection` says when its filters are chosen."""

from collections.abc import Mapping
from typing import Any

from reid_lightning.config.resolve import instantiate
from reid_lightning.reporting.page import Picture
from reid_lightning.systems.multi_depth.figures import draw_distances, draw_filters
from reid_lightning.systems.task import Run, Task


class MultiDepthTask(Task):
    """Draws the maps that the multi-depth descriptor compares (University of Birjand 2022); it trains nothing."""

    name = "multi_depth"
    own_settings = False

    @classmethod
    def branches(cls, node: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the descriptor."""
        return {"descriptor": instantiate(config["descriptor"], "descriptor")}

    def figures(self, run: Run, scores: Mapping[str, float]) -> list[Picture]:
        """Draw the chosen maps of a typical query, and why these filters were chosen."""
        return draw_filters(run) + draw_distances(run)
