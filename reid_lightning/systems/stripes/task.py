"""What AlignedReID shows of itself: which stripes of two images it compares (Zhang et al. 2017)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from reid_lightning.distances import exact_products, promote
from reid_lightning.reporting.page import Picture
from reid_lightning.systems.examples import typical_triple
from reid_lightning.systems.stripes.alignment import AlignedPair, alignment_lines, alignment_path
from reid_lightning.systems.stripes.parts import Stripes
from reid_lightning.systems.task import Run, Task

PAIRS = ("right match", "wrong match")


class AlignedTask(Task):
    """Draws how the stripes of a query are aligned with those of a right and of a wrong match; it trains nothing."""

    name = "aligned"
    own_settings = False

    def figures(self, run: Run, scores: Mapping[str, float]) -> list[Picture]:
        """Draw the alignment of a typical query; nothing where the network has no stripes, or no query a match."""
        rows = typical_triple(run) if isinstance(run.network.parts, Stripes) else None
        if rows is None:
            return []
        images = run.datamodule.images_of(rows)
        query, *others = images.permute(0, 2, 3, 1).numpy()
        costs = stripe_costs(run, images)
        pairs = [
            AlignedPair(title, query, other, matrix)
            for title, other, matrix in zip(PAIRS, others, costs, strict=True)
        ]
        path = run.output_dir / "alignment.png"
        alignment_lines(pairs, path)
        totals = [sum(float(pair.costs[cell]) for cell in alignment_path(pair.costs)) for pair in pairs]
        stripes = len(costs[0])
        caption = (
            "A query of median precision with its nearest right match and with the nearest other person, each cut into "
            f"{stripes} stripes. Lines join the stripes that the shortest path compares from top to bottom, the thicker the "
            "closer. The numbers are distances of stripes, in hundredths; those on the path add up to the aligned "
            f"distance: {totals[0]:.2f} to the right match and {totals[1]:.2f} to the wrong one, of at most "
            f"{2 * stripes - 1}."
        )
        return [Picture("Alignment of stripes", path, caption)]


@torch.no_grad()
def stripe_costs(run: Run, images: torch.Tensor) -> list[np.ndarray[Any, Any]]:
    """Return the (S, S) distances `tanh(u / 2)` of the first image's stripes to those of each other one of (N, 3, H, W)."""
    device = next(run.network.parameters()).device
    with run.uncompiled():
        stripes = promote(run.network.eval()(images.to(device)).extra["stripes"])
    with exact_products(device):
        apart = torch.cdist(stripes[:1].expand(len(stripes) - 1, -1, -1), stripes[1:])
    return list((apart / 2).tanh().cpu().numpy())
