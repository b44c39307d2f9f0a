"""Pictures of several models on several data sets: a heat map of the mAP, and the mAP over the time per image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid_lightning.reporting.figures import COLORS, FAINT, GRID, INK, as_they_are, new_figure, plain, save

_LONGEST = 28  # characters of a name


@dataclass(frozen=True)
class Timed:
    """A model on a data set, with its time."""

    model: str
    data: str
    milliseconds: float
    mean_ap: float
    interval: Sequence[float] | None = None
    """Lower and upper end of the 95 % interval of the mAP."""


def heat_map(
    models: Sequence[str], sets: Sequence[str], values: Mapping[tuple[str, str], float], path: Path
) -> None:
    """Draw mAP as a table of colors, models down and data sets across; a pair without a value is gray.

    Args:
        models: Rows.
        sets: Columns.
        values: mAP as a fraction by (model, set).
        path: Picture file.
    """
    shown = np.array([[100 * values.get((model, data), np.nan) for data in sets] for model in models])
    left = 0.2 + 0.07 * max(len(short_name(model)) for model in models)
    column = max(0.8, 0.2 + 0.07 * max(len(short_name(name)) for name in sets))  # inches
    width, height = left + column * len(sets) + 0.1, 0.4 + 0.45 * len(models)
    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, 0.1 / height, 1 - (left + 0.1) / width, 1 - 0.4 / height))
    axes.set_facecolor(GRID)
    axes.imshow(np.ma.masked_invalid(shown), cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for row, line in enumerate(shown):
        for column, value in enumerate(line):
            known = bool(np.isfinite(value))
            axes.text(
                column, row, f"{value:.1f}" if known else "-", ha="center", va="center", fontsize=9,
                color="white" if known and value > 55 else INK,
            )  # fmt: skip
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(sets)), [short_name(name) for name in sets], fontsize=8, color=INK)
    axes.set_yticks(range(len(models)), [short_name(name) for name in models], fontsize=8, color=INK)
    axes.tick_params(length=0)
    as_they_are([*axes.get_xticklabels(), *axes.get_yticklabels()])
    axes.set_xticks(np.arange(len(sets) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(models) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    save(figure, path)


def map_over_latency(points: Sequence[Timed], path: Path) -> None:
    """Draw mAP in percent over milliseconds per image, a color per data set.

    Args:
        points: Each with its model's time.
        path: Picture file.
    """
    figure = new_figure(7.0, 4.0)
    axes = figure.subplots()
    sets = list(dict.fromkeys(point.data for point in points))
    for place, data in enumerate(sets):
        own = sorted((point for point in points if point.data == data), key=lambda point: point.milliseconds)
        x, y = [point.milliseconds for point in own], [100 * point.mean_ap for point in own]
        below, above = (
            [abs(100 * (point.interval[end] - point.mean_ap)) if point.interval else 0.0 for point in own]
            for end in (0, 1)
        )
        color = COLORS[place % len(COLORS)]
        axes.errorbar(
            x,
            y,
            yerr=[below, above],
            fmt="o",
            color=color,
            markersize=5,
            elinewidth=1,
            label=short_name(data),
        )
    tops: dict[str, Timed] = {}
    for point in points:  # a name stands once, at its highest point
        if point.model not in tops or point.mean_ap > tops[point.model].mean_ap:
            tops[point.model] = point
    end = 1.25 * max(point.milliseconds for point in points)
    for point in tops.values():
        to_the_left = point.milliseconds > end / 2  # so that the name ends within the picture
        name = axes.annotate(
            short_name(point.model), (point.milliseconds, 100 * point.mean_ap), xytext=(-7 if to_the_left else 7, 4),
            textcoords="offset points", fontsize=8, color=INK, ha="right" if to_the_left else "left",
        )  # fmt: skip
        as_they_are([name])
    plain(axes, "mAP, percent", "milliseconds per image, one at a time")
    axes.set_xlim(0, end)
    axes.set_ylim(0, 100)
    if len(sets) > 1:
        legend = axes.legend(
            fontsize=8, frameon=False, labelcolor=FAINT, loc="center left", bbox_to_anchor=(1.0, 0.5)
        )
        as_they_are(legend.get_texts())
    figure.subplots_adjust(left=0.07, right=0.8 if len(sets) > 1 else 0.97, bottom=0.13, top=0.91)
    save(figure, path)


def short_name(name: str) -> str:
    """Return a name as a picture has room for it."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
