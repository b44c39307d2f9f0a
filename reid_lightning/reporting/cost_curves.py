"""What a distance costs, and how steeply: the curves of a loss whose terms depend on one distance each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reid_lightning.reporting.figures import COLORS, FAINT, GRID, INK, new_figure, plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 50


@dataclass(frozen=True, eq=False)
class CostCurve:
    """A term of a loss over the distance that it reads.

    Attributes:
        label: Whose distance it is.
        costs: (P,) at the places of the picture.
        slopes: (P,) derivatives there.
        found: Distances of a batch.
    """

    label: str
    costs: NDArray[np.floating]
    slopes: NDArray[np.floating]
    found: NDArray[np.floating]


def cost_curves(
    distances: NDArray[np.floating], curves: Sequence[CostCurve], unit: str, path: str | Path
) -> None:
    """Draw costs and slopes over the distance, and below each where the distances of a batch lie.

    Args:
        distances: (P,) places, rising.
        curves: The terms.
        unit: What the distances are.
        path: Picture file.
    """
    figure = new_figure(8.6, 4.0)
    panels = figure.subplots(2, 2, sharex=True, height_ratios=(3, 1), squeeze=False)
    edges = np.linspace(distances[0], distances[-1], BINS + 1)
    for column, (title, field) in enumerate((("Cost", "costs"), ("Slope of the cost", "slopes"))):
        axes, below = panels[:, column]
        values = [getattr(curve, field) for curve in curves]
        for curve, drawn, color in zip(curves, values, COLORS, strict=False):
            axes.plot(distances, drawn, color=color, linewidth=1.8, label=curve.label)
            shares = np.histogram(curve.found, edges)[0] / max(1, len(curve.found))
            below.stairs(shares, edges, color=color, fill=True, alpha=0.35)
            below.stairs(shares, edges, color=color, linewidth=1.0)
            if len(curve.found):
                middle = float(np.median(curve.found))
                at = float(np.interp(middle, distances, drawn))
                axes.plot(middle, at, "o", color=color, markersize=5, clip_on=False)
                axes.annotate(
                    f"{at:.2f}",
                    (middle, at),
                    xytext=(6, 6),
                    textcoords="offset points",
                    fontsize=8,
                    color=INK,
                )
        _within(axes, values)
        plain(axes, title, "")
        plain(below, "", unit)
        below.set_yticks([])
        below.set_ylabel("this batch", fontsize=8, color=FAINT)
        below.grid(visible=False)
        below.spines["left"].set_visible(False)
        axes.set_xlim(distances[0], distances[-1])
        axes.axhline(0, color=GRID, linewidth=1.0, zorder=0)
    panels[0, 0].legend(
        fontsize=8, frameon=False, labelcolor=INK, handlelength=1.4, loc="upper center", ncols=len(curves)
    )
    figure.subplots_adjust(left=0.05, right=0.98, bottom=0.11, top=0.92, wspace=0.12, hspace=0.12)
    save(figure, path)


def _within(axes: "Axes", values: Sequence[NDArray[np.floating]]) -> None:
    """Leave the poles of a logarithm out of sight: show what 96 in 100 places have."""
    together = np.concatenate(values)
    low, high = np.quantile(together, (0.02, 0.98))
    room = 0.12 * (high - low)
    axes.set_ylim(low - room, high + room)
