"""How far apart a layer's filters keep one person and two, as curves over the filters (Birjand 2022, Fig. 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid_lightning.reporting.figures import COLORS, FAINT, INK, new_figure, plain, save


@dataclass(frozen=True, eq=False)
class FilterCurve:
    """The mean distances of a layer.

    Attributes:
        layer: Its number.
        same: (C,) of maps of one person, d_s.
        different: (C,) of maps of two people, d_d.
        chosen: Number of the filter that was chosen.
    """

    layer: int
    same: NDArray[np.floating]
    different: NDArray[np.floating]
    chosen: int


def filter_curves(curves: Sequence[FilterCurve], path: str | Path) -> None:
    """Draw a panel per layer: d_s and d_d over the filters, the chosen one marked.

    Args:
        curves: At least one.
        path: Picture file.
    """
    columns = 1 if len(curves) == 1 else 2
    rows = -(-len(curves) // columns)
    figure = new_figure(9.4, 0.5 + 2.3 * rows)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat[len(curves) :]:
        axes.set_axis_off()
    for axes, curve in zip(panels.flat, curves, strict=False):
        filters = np.arange(len(curve.same))
        axes.fill_between(
            filters, curve.same, curve.different, where=curve.different > curve.same, color=COLORS[1], alpha=0.15,
            linewidth=0,
        )  # fmt: skip
        axes.plot(filters, curve.different, color=COLORS[1], linewidth=1.0, label="two people (d_d)")
        axes.plot(filters, curve.same, color=COLORS[0], linewidth=1.0, label="one person (d_s)")
        near, far = float(curve.same[curve.chosen]), float(curve.different[curve.chosen])
        axes.axvline(curve.chosen, color=INK, linewidth=0.8, linestyle=(0, (3, 3)))
        axes.plot([curve.chosen] * 2, [near, far], "o", color=INK, markersize=4, label="chosen filter")
        title = f"layer {curve.layer}, filter {curve.chosen}: d_d {far:.3g}, d_s {near:.3g}, gain {far - near:.3g}"
        plain(axes, title, "filter")
        axes.title.set_fontsize(9)
        axes.set_xlim(0, max(1, len(filters) - 1))
        axes.set_ylim(0, 1.08 * max(float(curve.different.max()), float(curve.same.max()), 1e-12))
        axes.tick_params(labelcolor=FAINT)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, fontsize=8, frameon=False, labelcolor=INK)
    figure.tight_layout(rect=(0, 0.35 / (0.5 + 2.3 * rows), 1, 1), h_pad=1.2, w_pad=1.8)
    save(figure, path)
