"""Charts of a sweep: a line or a point per option, its mean over the runs with their range, in percent.

Every mark of an option has its place in the leaderboard as its key, by which the page filters and highlights.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reid_lightning.reporting.charts import SHADES, Chart, Line, line_chart, ticks

NAMED = SHADES - 1
"""Options with a color and a number of their own; all others are gray."""
DRAWN = 100
"""Options that charts show, the first of the leaderboard."""
SPAN = 1.0
"""Percent points that an axis of scores covers at least, so that differences of nothing do not fill it."""


@dataclass(frozen=True)
class Curve:
    """A score of one run by epoch, or by rank."""

    option: str
    seed: str
    points: Sequence[tuple[float, float]]
    """(epoch or rank, fraction), rising."""


@dataclass(frozen=True)
class Mean:
    """The mean of an option's curves at the places that all of them have."""

    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]]
    """Lowest and highest run at each place."""


@dataclass(frozen=True)
class Point:
    """An option in a scatter, in the axes' units."""

    place: int
    name: str
    x: float
    y: float
    spread: float | None = None
    """Standard deviation of y, as far as it is known."""


def color(place: int) -> int:
    """Return the number of an option's color; the last one, gray, is that of all after the first few."""
    return min(place, NAMED)


def averaged(curves: Sequence[Curve]) -> Mean:
    """Average curves point by point, in percent.

    Examples:
        >>> averaged([Curve("a", "1", [(1, 0.1), (2, 0.3)]), Curve("a", "2", [(1, 0.2)])])
        Mean(points=[(1, 15.0)], band=[(10.0, 20.0)])
    """
    tables = [{x: 100 * value for x, value in curve.points} for curve in curves]
    shared = sorted(set(tables[0]).intersection(*tables[1:]))
    columns = [[table[x] for table in tables] for x in shared]
    return Mean(
        [(x, round(sum(values) / len(values), 10)) for x, values in zip(shared, columns, strict=True)],
        [(min(values), max(values)) for values in columns],
    )


def curve_chart(
    curves: Sequence[Curve],
    options: Sequence[str],
    *,
    title: str,
    x_label: str,
    y_label: str,
    caption: str,
) -> Chart | None:
    """Return a chart of the options' means with the range over their runs; None where no curve has a point.

    Args:
        curves: Of all runs.
        options: In the order of the leaderboard.
        title: As of `line_chart`, and what follows.
        x_label: Counts something, such as epochs.
        y_label: With the unit, percent.
        caption: A sentence below.
    """
    of_option: dict[str, list[Curve]] = {}
    for curve in curves:
        of_option.setdefault(curve.option, []).append(curve)
    lines = []
    for place, option in enumerate(options[:DRAWN]):
        mean = averaged(of_option[option]) if option in of_option else None
        if mean is not None and mean.points:
            band = mean.band if len(of_option[option]) > 1 and place < NAMED else ()
            lines.append(_line(place, option, mean.points, band))
    if not lines:
        return None
    return line_chart(
        lines,
        title=title,
        x_label=x_label,
        y_label=y_label,
        caption=caption,
        x_whole=True,
    )


def scatter(points: Sequence[Point], *, title: str, x_label: str, y_label: str) -> Chart:
    """Return a chart of scores in percent over a cost from zero on, with bars of one standard deviation.

    Args:
        points: At least one; the first `DRAWN` options are shown.
        title: As of `line_chart`, and what follows.
        x_label: With its unit.
        y_label: With its unit.
    """
    shown = sorted((point for point in points if point.place < DRAWN), key=lambda point: point.place)
    steps = ticks(0.0, max(point.x for point in shown), 3)
    low, high = reach((point.y, point.spread) for point in shown)
    heights = ticks(low, high)
    lines = []
    for point in shown:
        spread = point.spread or 0.0
        band = [(point.y - spread, point.y + spread)] if spread else ()
        lines.append(_line(point.place, point.name, [(point.x, point.y)], band))
    return line_chart(
        lines,
        title=title,
        x_label=x_label,
        y_label=y_label,
        x_range=(steps[0], steps[-1]),
        y_range=(heights[0], heights[-1]),
        width=360,
        height=240,
    )


def reach(scores: Iterable[tuple[float, float | None]]) -> tuple[float, float]:
    """Return the ends of an axis of scores in percent: with their spread, and at least `SPAN` apart.

    Args:
        scores: Means and standard deviations.

    Examples:
        >>> reach([(27.78, 2.0), (27.82, None)])
        (25.78, 29.78)
        >>> [round(end, 2) for end in reach([(27.78, None), (27.82, None)])]
        [27.3, 28.3]
    """
    pairs = [(mean, spread or 0.0) for mean, spread in scores]
    low, high = min(mean - spread for mean, spread in pairs), max(mean + spread for mean, spread in pairs)
    missing = max(0.0, SPAN - (high - low)) / 2
    return low - missing, high + missing


def _line(
    place: int, name: str, points: Sequence[tuple[float, float]], band: Sequence[tuple[float, float]]
) -> Line:
    return Line(
        name,
        points,
        band,
        color=color(place),
        key=str(place),
        label=str(place + 1) if place < NAMED else "",
        listed=False,
    )
