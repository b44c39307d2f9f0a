"""Charts of a sweep as inline SVG: learning curves, parallel coordinates, scores against costs, intervals.

Every mark of an option carries `data-option`, its place in the leaderboard, by which the page filters and highlights.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from reid_lightning.reporting.figures import COLORS, FAINT, GRID, INK

OTHERS = "#b9b9b9"  # options after the first few, whose colours nobody could tell apart
LABELS = 12  # values of a choice that its axis names


@dataclass(frozen=True)
class Curve:
    """Validation mAP of one job by epoch."""

    option: str
    seed: str
    points: Sequence[tuple[float, float]]
    """(epoch, mAP as a fraction)."""


@dataclass(frozen=True)
class Point:
    """An option in a scatter: the axes' units, with the spread of y or None."""

    option: int
    title: str
    x: float
    y: float
    spread: float | None = None


def color(option: int) -> str:
    """Return the colour of an option by its place."""
    return COLORS[option] if option < len(COLORS) else OTHERS


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return round numbers that enclose a range; one that is nothing but rounding is opened.

    Examples:
        >>> ticks(0.0, 0.9), ticks(31.0, 38.0)
        ([0.0, 0.5, 1.0], [30.0, 32.0, 34.0, 36.0, 38.0])
    """
    span = high - low
    if span <= 1e-9 * abs(high):
        span = abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * count >= span * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(place * step, 12) for place in range(first, last + 1)]


@dataclass(frozen=True)
class _Frame:
    """A plot's axes: from values to places in its picture."""

    xs: Sequence[float]
    ys: Sequence[float]
    width: float
    height: float

    left, right, top, bottom = 46.0, 14.0, 12.0, 40.0

    def x(self, value: float) -> float:
        inner = self.width - self.left - self.right
        return self.left + inner * (value - self.xs[0]) / (self.xs[-1] - self.xs[0])

    def y(self, value: float) -> float:
        inner = self.height - self.top - self.bottom
        return self.height - self.bottom - inner * (value - self.ys[0]) / (self.ys[-1] - self.ys[0])

    def draw(self, marks: Sequence[str], xlabel: str, ylabel: str) -> str:
        end, floor = self.width - self.right, self.height - self.bottom
        lines = [
            f'<path d="M{self.left:.1f} {self.y(v):.1f}H{end:.1f}" stroke="{GRID}"/>'
            f"{_text(self.left - 6, self.y(v) + 4, f'{v:g}', 'end')}"
            for v in self.ys
        ]
        lines += [_text(self.x(v), floor + 16, f"{v:g}", "middle") for v in self.xs]
        lines.append(_text((self.left + end) / 2, self.height - 6, xlabel, "middle"))
        lines.append(_text(4, self.top - 2, ylabel, "start") if ylabel else "")
        return picture("".join([*lines, *marks]), self.width, self.height)


def picture(content: str, width: float, height: float) -> str:
    """Return an SVG that shrinks with the page."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'font-size="11" fill="none">{content}</svg>'
    )


def _text(x: float, y: float, words: str, anchor: str) -> str:
    """Write words that stay legible over lines."""
    halo = 'stroke="#fff" stroke-width="3" paint-order="stroke"'
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{FAINT}" {halo}>{escape(words)}</text>'
    )


def _mark(option: int, title: str, shapes: str) -> str:
    return f'<g data-option="{option}" stroke="{color(option)}"><title>{escape(title)}</title>{shapes}</g>'


def _line(points: Sequence[tuple[float, float]]) -> str:
    places = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{places}" stroke-width="1.5" stroke-linejoin="round"/>'


def learning_curves(curves: Sequence[Curve], options: Sequence[str]) -> str:
    """Draw validation mAP over epochs, a line per job in its option's colour."""
    places = {option: place for place, option in enumerate(options)}
    epochs = [epoch for curve in curves for epoch, _ in curve.points]
    values = [100 * value for curve in curves for _, value in curve.points]
    frame = _Frame(ticks(min(epochs), max(epochs), 8), ticks(min(values), max(values)), 900, 320)
    marks = []
    for curve in sorted(curves, key=lambda curve: -places[curve.option]):  # the best on top
        points = [(frame.x(epoch), frame.y(100 * value)) for epoch, value in curve.points]
        shape = _line(points)
        if len(points) == 1:
            shape = f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="2.5"/>'
        title = f"{curve.option}, seed {curve.seed}: {100 * curve.points[-1][1]:.1f} at the end"
        marks.append(_mark(places[curve.option], title, shape))
    return frame.draw(marks, "epoch", "")


def scatter(points: Sequence[Point], xlabel: str) -> str:
    """Draw scores in percent against a cost, bars of one standard deviation."""
    reach = [edge for p in points for edge in (p.y - (p.spread or 0), p.y + (p.spread or 0))]
    xs = ticks(min(p.x for p in points), max(p.x for p in points), 3)
    frame = _Frame(xs, ticks(min(reach), max(reach)), 300, 230)
    marks = []
    for point in sorted(points, key=lambda point: -point.option):
        x, y = frame.x(point.x), frame.y(point.y)
        shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color(point.option)}"/>'
        if point.spread:
            low, high = frame.y(point.y - point.spread), frame.y(point.y + point.spread)
            shape += f'<path d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
        marks.append(_mark(point.option, point.title, shape))
    return frame.draw(marks, xlabel, "")


def parallel_coordinates(
    options: Sequence[str],
    choices: Mapping[str, Mapping[str, str]],
    scores: Mapping[str, Mapping[str, float | None]],
) -> str:
    """Draw a line per option through its value of every choice and its scores.

    Args:
        options: In the order of the leaderboard.
        choices: By name, each option's value.
        scores: By heading, each option's score in percent; an option lacking one is left out.
    """
    height, top, bottom = 320.0, 34.0, 14.0
    gap = max(110.0, 780.0 / max(len(choices) + len(scores) - 1, 1))
    axes: list[tuple[str, dict[str, float], list[tuple[float, str]]]] = []
    for name, values in choices.items():
        axes.append((name, *_scale([values[option] for option in options], options)))
    for name, numbers in scores.items():
        found = {option: value for option in options if (value := numbers.get(option)) is not None}
        steps = ticks(min(found.values()), max(found.values()))
        axes.append((name, *_linear(found, steps)))
    width = 150 + gap * (len(axes) - 1) + 70

    def y(fraction: float) -> float:
        return height - bottom - (height - top - bottom) * fraction

    content, labelled = [], []
    for place, (name, _, labels) in enumerate(axes):
        x = 150 + gap * place
        content.append(f'<path d="M{x:.1f} {top}V{height - bottom}" stroke="{GRID}"/>')
        content.append(_text(x, 14, name.rsplit(".", 1)[-1], "middle"))
        labelled += [_text(x - 6, y(at) + 4, _short(label), "end") for at, label in labels]
    for place in reversed(range(len(options))):
        option = options[place]
        if all(option in where for _, where, _ in axes):
            points = [(150 + gap * axis, y(where[option])) for axis, (_, where, _) in enumerate(axes)]
            content.append(_mark(place, option, _line(points)))
    return picture("".join([*content, *labelled]), width, height)


def _short(label: str) -> str:
    return label if len(label) <= 20 else f"{label[:19]}…"


def _scale(values: Sequence[str], options: Sequence[str]) -> tuple[dict[str, float], list[tuple[float, str]]]:
    """Place the values of a choice: numbers by size, by their logarithm over two decades; words apart."""
    numbers = [_number(value) for value in values]
    known = [number for number in numbers if number is not None]
    if len(known) == len(values) and len(set(known)) > 2:
        found = dict(zip(options, known, strict=True))
        if min(known) > 0 and max(known) >= 100 * min(known):
            powers = {option: math.log10(number) for option, number in found.items()}
            low, high = math.floor(min(powers.values())), math.ceil(max(powers.values()))
            return _linear(powers, list(range(low, high + 1)), lambda power: f"{10.0**power:g}")
        return _linear(found, ticks(min(known), max(known)))
    names = sorted(set(values), reverse=True)
    places = {name: (place + 0.5) / len(names) for place, name in enumerate(names)}
    labels = [(at, name) for name, at in places.items()] if len(names) <= LABELS else []
    return {option: places[value] for option, value in zip(options, values, strict=True)}, labels


def _linear(
    values: Mapping[str, float],
    steps: Sequence[float],
    label: Callable[[float], str] = lambda step: f"{step:g}",
) -> tuple[dict[str, float], list[tuple[float, str]]]:
    span = steps[-1] - steps[0]
    where = {option: (value - steps[0]) / span for option, value in values.items()}
    return where, [((step - steps[0]) / span, label(step)) for step in steps]


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def interval(gap: float, low: float, high: float, reach: float) -> str:
    """Draw a difference with its interval about zero, in a cell of a table; all in percent points."""
    width, height = 150.0, 14.0

    def x(value: float) -> float:
        return width / 2 * (1 + 0.95 * max(-1.0, min(1.0, value / reach)))

    return picture(
        f'<path d="M{width / 2} 0V{height}" stroke="{FAINT}" stroke-dasharray="2"/>'
        f'<path d="M{x(low):.1f} 7H{x(high):.1f}" stroke="{INK}" stroke-width="1.5"/>'
        f'<circle cx="{x(gap):.1f}" cy="7" r="3" fill="{INK}"/>',
        width,
        height,
    )
