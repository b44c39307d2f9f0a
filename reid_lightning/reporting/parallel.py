"""Parallel coordinates: a line per option through its value of every choice and its scores."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reid_lightning.reporting.charts import DrawnLine, labels_apart, ticks
from reid_lightning.reporting.sweep_charts import DRAWN, NAMED, color, reach

LABELS = 12
"""Values of a choice that its axis names at most."""
LONGEST = 20
"""Characters of such a name."""
LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 150.0, 40.0, 34.0, 14.0, 320.0
"""Margins and height of the picture, pixels."""

Scored = tuple[float, float | None]
"""Mean and standard deviation, percent."""


@dataclass(frozen=True)
class Axis:
    """An axis in pixels."""

    name: str
    short: str
    x: float
    labels: Sequence[tuple[float, str, str]]
    """Place, text that fits, whole text."""


@dataclass(frozen=True)
class Parallel:
    """The picture in pixels."""

    width: float
    height: float
    top: float
    bottom: float
    axes: Sequence[Axis]
    lines: Sequence[DrawnLine]


@dataclass(frozen=True)
class _Scale:
    """Where values stand on an axis, 0 below and 1 above, and what stands beside it."""

    at: Mapping[str, float]
    labels: Sequence[tuple[float, str]]
    spread: Mapping[str, tuple[float, float]]


def parallel_coordinates(
    options: Sequence[str],
    choices: Mapping[str, Mapping[str, str]],
    scores: Mapping[str, Mapping[str, Scored]],
) -> Parallel:
    """Return the picture.

    Args:
        options: In the order of the leaderboard; the first `DRAWN` are shown.
        choices: By name, each option's value.
        scores: By heading, each option's score with its spread, which the axis covers; an option that lacks one is left out.
    """
    shown = [option for option in options if all(option in of for of in scores.values())][:DRAWN]
    scales = {
        name: _of_choice({option: values[option] for option in shown}) for name, values in choices.items()
    }
    scales |= {
        name: _of_scores({option: values[option] for option in shown}) for name, values in scores.items()
    }
    gap = max(110.0, 780.0 / max(len(scales) - 1, 1))

    def x(axis: int) -> float:
        return LEFT + gap * axis

    def y(share: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)

    axes = [
        Axis(name, _short(re.split(r"[./]", name)[-1]), x(place), [(y(at), _short(text), text) for at, text in scale.labels])
        for place, (name, scale) in enumerate(scales.items())
    ]  # fmt: skip
    lines = []
    for option in reversed(shown):  # the best on top
        place = options.index(option)
        route = [(x(axis), y(scale.at[option])) for axis, scale in enumerate(scales.values())]
        bars = [
            f"M{x(axis):g} {y(low):g}V{y(high):g}"
            for axis, scale in enumerate(scales.values())
            for low, high in [scale.spread.get(option, (0.0, 0.0))]
            if high > low
        ]
        lines.append(
            DrawnLine(
                option, option, str(place), color(place), False, "M" + "L".join(f"{at:g} {to:g}" for at, to in route),
                "".join(bars), "", (), str(place + 1) if place < NAMED else "", (route[-1][0] + 6, route[-1][1] + 4),
            )
        )  # fmt: skip
    return Parallel(
        x(len(scales) - 1) + RIGHT, HEIGHT, TOP, HEIGHT - BOTTOM, axes, labels_apart(lines)
    )  # fmt: skip


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _of_choice(values: Mapping[str, str]) -> _Scale:
    """Place the values of a choice: numbers by size, by their logarithm over two decades; words apart."""
    numbers = {option: number for option, value in values.items() if (number := _number(value)) is not None}
    known = set(numbers.values())
    if len(numbers) == len(values) and len(known) > 2:
        if min(known) > 0 and max(known) >= 100 * min(known):
            powers = {option: math.log10(number) for option, number in numbers.items()}
            ends = math.floor(min(powers.values())), math.ceil(max(powers.values()))
            return _linear(
                powers,
                [float(power) for power in range(ends[0], ends[1] + 1)],
                lambda power: f"{10.0**power:g}",
            )
        return _linear(numbers, ticks(min(known), max(known)))
    names = sorted(set(values.values()), reverse=True)
    places = {name: (place + 0.5) / len(names) for place, name in enumerate(names)}
    labels = [(at, name) for name, at in places.items()] if len(names) <= LABELS else []
    return _Scale({option: places[value] for option, value in values.items()}, labels, {})


def _of_scores(values: Mapping[str, Scored]) -> _Scale:
    steps = ticks(*reach(values.values()))
    low, span = steps[0], steps[-1] - steps[0]
    scale = _linear({option: mean for option, (mean, _) in values.items()}, steps)
    spread = {
        option: ((mean - std - low) / span, (mean + std - low) / span) for option, (mean, std) in values.items() if std
    }  # fmt: skip
    return _Scale(scale.at, scale.labels, spread)


def _linear(
    values: Mapping[str, float],
    steps: Sequence[float],
    label: Callable[[float], str] = lambda step: f"{step:g}",
) -> _Scale:
    low, span = steps[0], steps[-1] - steps[0]
    at = {option: (value - low) / span for option, value in values.items()}
    return _Scale(at, [((step - low) / span, label(step)) for step in steps], {})


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
