"""The page of a sweep: one HTML file with its leaderboard and charts, that needs no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reid_lightning.reporting.charts import Chart
from reid_lightning.reporting.parallel import Parallel, parallel_coordinates
from reid_lightning.reporting.render import percent, write_page
from reid_lightning.reporting.sweep_charts import DRAWN, NAMED, Curve, Point, color, curve_chart, scatter

COMPARED = {"test/mAP": "test mAP", "test/rank1": "Rank-1"}
WORDS = {"better": "better", "worse": "worse"}
"""Style of a word; of all others "unsure"."""


@dataclass(frozen=True)
class Trained:
    """A run of an option."""

    seed: str
    link: str = ""
    """The run's page, or what it leaves, as seen from the sweep's page; empty where there is nothing."""
    failed: bool = False


@dataclass(frozen=True)
class Cell:
    """A number of the table."""

    value: float | None
    """By which the column is sorted."""
    text: str
    spread: str = ""
    """What stands beside it: a standard deviation or an interval."""
    word: str = ""
    style: str = ""
    range: tuple[float, float, float] | None = None
    """Low end, value and high end on an axis from 0 to 1, whose middle is no difference."""


@dataclass(frozen=True)
class Row:
    """An option in the table."""

    place: int
    name: str
    color: int
    cells: Sequence[Cell]
    runs: Sequence[Trained]
    command: str


@dataclass(frozen=True)
class SweepContent:
    """What a sweep has found.

    Attributes:
        title: Heading of the page.
        header: Lines below it.
        command: The command that the sweep was started with; empty where it is not known.
        links: Files beside the page, and what they are called.
        against: The option that all others are compared with; None: nothing was compared.
        over: What the intervals are over, such as "seeds and people".
        counted: What the runs of an option are, such as "seeds".
        options: A row per option in their order: `option`, `NAME/mean`, `NAME/std` and `NAME/count` of every score and
            cost, and `difference`, `low`, `high`, `p` and `word` of `test/mAP` and `test/rank1`, None where missing.
        scores: Headings of the scores, which are fractions.
        costs: Headings of the costs, and what their values are divided by.
        choices: By choice, each option's value.
        effects: A row per choice and value: `choice`, `value`, `validation/mAP`, `test/mAP`, `combinations`.
        curves: Validation mAP of the runs by epoch.
        ranks: Rank-k of the runs by k.
        ranked: What was ranked for it: "test" or "validation".
        runs: The runs of each option.
        commands: The command that repeats an option.
        notes: What could not be compared, a sentence each.
        failures: Sentences about runs without a result.
    """

    title: str
    header: Sequence[str]
    against: str | None
    over: str
    options: Sequence[Mapping[str, Any]]
    scores: Mapping[str, str]
    costs: Mapping[str, tuple[str, float]]
    command: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    counted: str = "seeds"
    choices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    effects: Sequence[Mapping[str, Any]] = ()
    curves: Sequence[Curve] = ()
    ranks: Sequence[Curve] = ()
    ranked: str = "test"
    runs: Mapping[str, Sequence[Trained]] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    failures: Sequence[str] = ()


def write_sweep_page(path: Path, content: SweepContent) -> Path:
    """Write the page of a sweep and return its path."""
    scores = {name: title for name, title in content.scores.items() if _measured(content.options, name)}
    compared = [name for name in COMPARED if content.against is not None and name in scores]
    names = [str(option["option"]) for option in content.options]
    return write_page(
        "sweep.html.j2",
        path,
        title=content.title,
        content=content,
        columns=_columns(scores, compared, content.costs),
        rows=_rows(content, scores, compared),
        tested="test/mAP" in scores,
        named=[(str(place), name, color(place)) for place, name in enumerate(names[:NAMED])],
        others=len(names) - NAMED,
        not_drawn=len(names) - DRAWN,
        curves=[drawn for drawn in _curves(content, names) if drawn is not None],
        parallel=_parallel(content, names),
        scatters=_scatters(content),
    )


def _measured(options: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(option.get(f"{name}/mean") is not None for option in options)


def _columns(
    scores: Mapping[str, str], compared: Sequence[str], costs: Mapping[str, tuple[str, float]]
) -> list[str]:
    titles = []
    for name, title in scores.items():
        titles += [title, f"Δ {COMPARED[name]}"] if name in compared else [title]
    return [*titles, "runs", *(title for title, _ in costs.values())]


def _rows(content: SweepContent, scores: Mapping[str, str], compared: Sequence[str]) -> list[Row]:
    ends = {name: _end(content.options, name) for name in compared}
    rows = []
    for place, option in enumerate(content.options):
        name = str(option["option"])
        cells = []
        for score in scores:
            cells.append(_score(option.get(f"{score}/mean"), option.get(f"{score}/std")))
            if score in compared:
                reference = name == content.against
                cells.append(
                    Cell(0.0, "", "", "reference", "unsure")
                    if reference
                    else _difference(option, score, ends[score])
                )
        count = max((option.get(f"{score}/count") or 0 for score in content.scores), default=0)
        cells.append(Cell(count, str(count)))
        cells += [_cost(option.get(f"{cost}/mean"), unit) for cost, (_, unit) in content.costs.items()]
        rows.append(
            Row(place, name, color(place), cells, content.runs.get(name, ()), content.commands.get(name, ""))
        )
    return rows


def _end(options: Sequence[Mapping[str, Any]], name: str) -> float:
    """Return the end of the axis on which all intervals of a score are drawn."""
    edges = [option.get(f"{name}/{end}") for option in options for end in ("difference", "low", "high")]
    return max((abs(edge) for edge in edges if edge is not None), default=0.0) or 1.0


def _score(mean: float | None, spread: float | None) -> Cell:
    if mean is None:
        return Cell(None, "")
    return Cell(mean, percent(mean), f"± {percent(spread)}" if spread is not None else "")


def _cost(mean: float | None, unit: float) -> Cell:
    if mean is None:
        return Cell(None, "")
    return Cell(mean, f"{mean / unit:,.0f}" if mean / unit >= 100 else f"{mean / unit:.2f}")


def _difference(option: Mapping[str, Any], name: str, end: float) -> Cell:
    gap, low, high = (option.get(f"{name}/{part}") for part in ("difference", "low", "high"))
    word = str(option.get(f"{name}/word") or "unknown")
    style = WORDS.get(word, "unsure")
    if gap is None:
        return Cell(None, "", "", word, style)
    text = f"{100 * gap:+.1f}"
    if low is None or high is None:
        return Cell(gap, text, "", word, style)
    low_at, at, high_at = (round(0.5 + 0.47 * edge / end, 4) for edge in (low, gap, high))
    interval = f"[{100 * low:+.1f}, {100 * high:+.1f}]"
    return Cell(gap, text, interval, word, style, (low_at, at, high_at))


def _curves(content: SweepContent, names: Sequence[str]) -> list[Chart | None]:
    of = f"mean over the {content.counted} of an option, shaded from the lowest to the highest"
    return [
        curve_chart(
            content.curves,
            names,
            title="Learning curves",
            x_label="epoch",
            y_label="validation mAP, percent",
            caption=f"Line: {of}, at the epochs that all of them have.",
        ),
        curve_chart(
            content.ranks,
            names,
            title=f"Cumulative matching characteristic ({content.ranked})",
            x_label="rank k",
            y_label="queries with a match among their first k, percent",
            caption=f"Line: {of}.",
        ),
    ]


def _parallel(content: SweepContent, names: Sequence[str]) -> Parallel | None:
    scored = {}
    for name, title in content.scores.items():
        found = {
            str(option["option"]): (100 * mean, None if std is None else 100 * std)
            for option in content.options
            for mean, std in [(option.get(f"{name}/mean"), option.get(f"{name}/std"))]
            if mean is not None
        }
        if name.endswith("/mAP") and found:
            scored[f"{title}, percent"] = found
    shared = [name for name in names if all(name in found for found in scored.values())]
    if not scored or not content.choices or len(shared) < 2:
        return None
    return parallel_coordinates(names, content.choices, scored)


def _scatters(content: SweepContent) -> list[Chart]:
    tested = _measured(content.options, "test/mAP")
    name, title = (
        ("test/mAP", "test mAP, percent") if tested else ("validation/mAP", "validation mAP, percent")
    )
    charts = []
    for cost, (label, unit) in content.costs.items():
        points = []
        for place, option in enumerate(content.options):
            mean, std, paid = (option.get(key) for key in (f"{name}/mean", f"{name}/std", f"{cost}/mean"))
            if mean is not None and paid is not None and place < DRAWN:
                spread = None if std is None else 100 * std
                points.append(Point(place, str(option["option"]), paid / unit, 100 * mean, spread))
        if points:
            charts.append(scatter(points, title="", x_label=label, y_label=title))
    return charts
