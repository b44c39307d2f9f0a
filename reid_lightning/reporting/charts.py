"""Charts of pages: values become places in a picture here, and `templates/charts.html.j2` writes them as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

SHADES = 8
"""Colors of lines that a page tells apart: `--c0` to `--c7` of `templates/page.css`."""
LEFT, RIGHT, TOP, BOTTOM = 44.0, 10.0, 22.0, 40.0
"""Margins around the axes, in pixels."""
LABEL = 11.0
"""Height of a line's label, in pixels."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A line of a chart, in the axes' units."""

    name: str
    points: Points
    band: Points = ()
    """The low and the high end at each point; empty for none."""
    filled: bool = False
    """Whether the area down to the axis is shaded, as of a histogram."""
    dashed: bool = False
    color: int | None = None
    """None: its place among the lines."""
    key: str = ""
    """What a script finds it by (`data-key`)."""
    label: str = ""
    """Stands at its right end, so that color is not all that tells lines apart."""
    listed: bool = True
    """Whether the legend names it."""


@dataclass(frozen=True)
class Mark:
    """A place on the x axis that has a name."""

    at: float
    text: str


@dataclass(frozen=True)
class DrawnLine:
    """A line in pixels: `d` of SVG paths, empty where there is nothing to draw."""

    name: str
    title: str
    key: str
    color: int
    dashed: bool
    path: str
    band: str
    area: str
    dots: Points
    label: str = ""
    label_at: tuple[float, float] = (0.0, 0.0)
    listed: bool = True


@dataclass(frozen=True)
class Chart:
    """A chart in pixels, its origin in the left upper corner."""

    title: str
    caption: str
    alt: str
    x_label: str
    y_label: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    marks: Sequence[Mark]
    lines: Sequence[DrawnLine]


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    caption: str = "",
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    x_log: bool = False,
    x_whole: bool = False,
    marks: Sequence[Mark] = (),
    width: float = 440,
    height: float = 270,
) -> Chart:
    """Return a chart of lines.

    Args:
        lines: At least one with a point; points that are not finite are left out.
        title: Its heading.
        x_label: What the x axis shows, with its unit.
        y_label: What the y axis shows, with its unit.
        caption: A sentence below.
        x_range: Ends of the x axis; None: the range of the points.
        y_range: Ends of the y axis, which then are ticks; None: round numbers around the points.
        x_log: Whether x is drawn by its logarithm; its values are positive.
        x_whole: Whether x counts something, so that ticks are whole numbers.
        marks: Places on the x axis.
        width: Of the picture, pixels.
        height: Of the picture, pixels.

    Examples:
        >>> drawn = line_chart([Line("mAP", [(0, 20.0), (4, 60.0)])], title="", x_label="epoch", y_label="percent")
        >>> drawn.lines[0].path
        'M44 230L430 22'
        >>> [label for _, label in drawn.y_ticks]
        ['20', '30', '40', '50', '60']
    """
    lines = [_finite(line) for line in lines]
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points] + [
        edge for line in lines for pair in line.band for edge in pair
    ]
    low_x, high_x = x_range or (min(xs, default=0.0), max(xs, default=1.0))
    if high_x <= low_x:
        low_x, high_x = low_x - 0.5, high_x + 0.5
    y_steps = ticks(*(y_range or (min(ys, default=0.0), max(ys, default=1.0))))
    low_y, high_y = y_range or (y_steps[0], y_steps[-1])
    right, bottom = width - RIGHT - 7 * max((len(line.label) for line in lines), default=0), height - BOTTOM

    def x_at(value: float) -> float:
        low, high, at = (math.log10(v) for v in (low_x, high_x, value)) if x_log else (low_x, high_x, value)
        return LEFT + (right - LEFT) * (at - low) / (high - low)

    def y_at(value: float) -> float:
        return bottom - (bottom - TOP) * (value - low_y) / (high_y - low_y)

    drawn = [
        _drawn(line, place if line.color is None else line.color, [(x_at(x), y_at(y)) for x, y in line.points],
               [(y_at(low), y_at(high)) for low, high in line.band], bottom)
        for place, line in enumerate(lines)
    ]  # fmt: skip
    drawn = labels_apart(drawn)
    x_steps = _powers(low_x, high_x) if x_log else ticks(low_x, high_x, 6, whole=x_whole)
    inside = 1e-9 * (high_x - low_x)
    names = ", ".join(line.name for line in lines if line.name and line.listed)
    return Chart(
        title, caption, f"{title or y_label}: {names}" if names else title, x_label, y_label,
        width, height, LEFT, right, TOP, bottom,
        [(_round(x_at(v)), _label(v)) for v in x_steps if low_x - inside <= v <= high_x + inside],
        [(_round(y_at(v)), _label(v)) for v in y_steps if low_y - 1e-9 <= v <= high_y + 1e-9],
        [Mark(_round(x_at(mark.at)), mark.text) for mark in marks if low_x <= mark.at <= high_x],
        drawn,
    )  # fmt: skip


def ticks(low: float, high: float, count: int = 4, whole: bool = False) -> list[float]:
    """Return round numbers that enclose a range; one that is nothing but rounding is opened.

    Examples:
        >>> ticks(0.0, 0.9), ticks(31.0, 38.0)
        ([0.0, 0.5, 1.0], [30.0, 32.0, 34.0, 36.0, 38.0])
        >>> ticks(0, 3, whole=True)
        [0.0, 1.0, 2.0, 3.0]
    """
    span = high - low
    if span <= 1e-9 * abs(high):
        span = abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * count >= span * (1 - 1e-9))
    if whole:
        step = max(1.0, round(step))
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(place * step, 12) for place in range(first, last + 1)]


def histogram(values: ArrayLike, edges: Sequence[float]) -> Points:
    """Return the outline of a histogram: the share of the values in each bin, in percent, at both of its edges.

    Args:
        values: Those outside of the edges are left out.
        edges: Rising; the last bin holds its upper edge.

    Examples:
        >>> histogram([0.1, 0.2, 0.7, 1.0], [0.0, 0.5, 1.0])
        [(0.0, 50.0), (0.5, 50.0), (0.5, 50.0), (1.0, 50.0)]
    """
    found = np.asarray(values, float)
    counts, _ = np.histogram(found, np.asarray(edges, float))
    shares = (100 * counts / max(1, len(found))).tolist()
    return [
        point
        for low, high, share in zip(edges, edges[1:], shares, strict=False)
        for point in ((low, share), (high, share))
    ]


def _powers(low: float, high: float) -> list[float]:
    return [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def _label(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 and value == round(value) else f"{value:g}"


def _finite(line: Line) -> Line:
    kept = [place for place, (x, y) in enumerate(line.points) if math.isfinite(x) and math.isfinite(y)]
    return replace(
        line,
        points=[line.points[place] for place in kept],
        band=[line.band[place] for place in kept] if line.band else (),
    )


def _drawn(line: Line, color: int, places: Points, band: Points, floor: float) -> DrawnLine:
    path, area, edges = "", "", ""
    if len(places) > 1:
        path = "M" + "L".join(f"{_round(x):g} {_round(y):g}" for x, y in places)
        if line.filled:
            area = f"{path}V{_round(floor):g}H{_round(places[0][0]):g}Z"
    if band and len(places) > 1:
        there = "L".join(
            f"{_round(x):g} {_round(low):g}" for (x, _), (low, _) in zip(places, band, strict=True)
        )
        back = "L".join(
            f"{_round(x):g} {_round(high):g}"
            for (x, _), (_, high) in reversed(list(zip(places, band, strict=True)))
        )
        edges = f"M{there}L{back}Z"
    if band and len(places) == 1:  # a bar
        edges = f"M{_round(places[0][0]):g} {_round(band[0][0]):g}V{_round(band[0][1]):g}"
    last = f": {line.points[-1][1]:.3g} at {_label(line.points[-1][0])}" if line.points else ""
    dots = [(_round(x), _round(y)) for x, y in places] if len(places) == 1 else []
    end = (_round(places[-1][0] + 5), _round(places[-1][1] + 4)) if places else (0.0, 0.0)
    label = line.label if places else ""
    return DrawnLine(
        line.name, f"{line.name}{last}", line.key, color % SHADES, line.dashed, path, edges, area, dots, label, end,
        line.listed,
    )  # fmt: skip


def labels_apart(lines: Sequence[DrawnLine]) -> list[DrawnLine]:
    """Move labels down that would cover one another."""
    moved = list(lines)
    taken: list[tuple[float, float]] = []
    for place in sorted(range(len(lines)), key=lambda place: lines[place].label_at[1]):
        x, y = lines[place].label_at
        if lines[place].label:
            y = max(
                [y, *(other + LABEL for at, other in taken if abs(at - x) < 2 * LABEL and other + LABEL > y)]
            )
            taken.append((x, y))
            moved[place] = replace(lines[place], label_at=(x, _round(y)))
    return moved


def _round(value: float) -> float:
    return round(value, 1)
