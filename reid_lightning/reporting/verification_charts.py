"""Pictures of verification: the ROC curve over false accepts, and stated over measured probabilities."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid_lightning.reporting.figures import COLORS, FAINT, GRID, INK, new_figure, plain, save

Floats = NDArray[np.float64]
_MOST_POINTS = 2000  # of a curve; a picture has fewer columns


def roc_chart(
    false_accepts: Floats, true_accepts: Floats, error: float, pairs: int, path: str | Path
) -> None:
    """Draw the share of accepted pairs of one person over that of two people, which is logarithmic.

    Args:
        false_accepts: (n,) rising shares of the pairs of two people.
        true_accepts: (n,) rising shares of the pairs of one person.
        error: The equal error rate.
        pairs: Pairs of two people; below one of them nothing is known.
        path: Picture file.
    """
    from matplotlib.ticker import PercentFormatter

    lowest = max(1 / pairs, 1e-6)
    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    asked = np.geomspace(lowest, 1, _MOST_POINTS)
    place = np.searchsorted(false_accepts, asked, side="right") - 1
    axes.plot(asked, true_accepts[place], color=COLORS[0], linewidth=1.8)
    axes.plot(asked, asked, color=FAINT, linewidth=0.8, linestyle=":")
    axes.plot(error, 1 - error, "o", color=COLORS[1], markersize=5)
    axes.annotate(
        f"equal error rate {100 * error:.2g} %",
        (error, 1 - error),
        xytext=(-6, 8) if error > 0.02 else (8, -12),
        textcoords="offset points",
        ha="right" if error > 0.02 else "left",
        fontsize=8,
        color=INK,
    )
    axes.set_xscale("log")
    axes.set_xlim(lowest, 1)
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    plain(axes, "Accepted pairs of one person", "share of the pairs of two people that are accepted")
    figure.subplots_adjust(left=0.1, right=0.97, bottom=0.14, top=0.9)
    save(figure, path)


def reliability_diagram(
    stated: Floats, measured: Floats, weights: Floats, error: float, path: str | Path
) -> None:
    """Draw measured over stated probabilities, and below how often which probability is stated.

    Args:
        stated: (B,) mean stated probability of each bin, NaN where it is empty.
        measured: (B,) share of pairs of one person.
        weights: (B,) share of all pairs.
        error: The expected calibration error.
        path: Picture file.
    """
    figure = new_figure(4.6, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    filled = weights > 0
    upper.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=":")
    upper.vlines(stated[filled], stated[filled], measured[filled], color=COLORS[1], linewidth=1.2)
    upper.plot(stated[filled], measured[filled], "o-", color=COLORS[0], linewidth=1.4, markersize=4)
    upper.set_xlim(-0.01, 1.01)
    upper.set_ylim(-0.02, 1.02)
    upper.annotate(
        f"expected calibration error {100 * error:.2g} %",
        (0.03, 0.93),
        xycoords="axes fraction",
        fontsize=8,
        color=INK,
    )
    upper.set_ylabel("measured: pairs of one person", fontsize=8, color=FAINT)
    plain(upper, "Probability of the same person", "")
    edges = np.linspace(0, 1, len(weights) + 1)
    same = np.where(filled, weights * np.nan_to_num(measured), 0.0)
    width, left = np.diff(edges) * 0.9, edges[:-1] + 0.05 * np.diff(edges)
    lower.bar(left, same, width, align="edge", color=COLORS[0], label="one person")
    lower.bar(left, weights - same, width, bottom=same, align="edge", color=GRID, label="two people")
    lower.legend(fontsize=8, frameon=False, labelcolor=INK, loc="upper center", handlelength=1.0)
    lower.set_ylabel("share of pairs", fontsize=8, color=FAINT)
    plain(lower, "", "stated, where half of the pairs show one person")
    figure.subplots_adjust(left=0.14, right=0.97, bottom=0.09, top=0.94, hspace=0.12)
    save(figure, path)
