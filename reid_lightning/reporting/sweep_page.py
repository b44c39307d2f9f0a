"""The page of a sweep: one HTML file with its leaderboard and charts, that needs no network."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from reid_lightning.files import atomic_path
from reid_lightning.reporting.page import STYLE
from reid_lightning.reporting.sweep_charts import (
    Curve,
    Point,
    color,
    interval,
    learning_curves,
    parallel_coordinates,
    scatter,
)

COMPARED = {"test/mAP": "test mAP", "test/rank1": "Rank-1"}
# The browser itself keeps the page from the network.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
SWEEP_STYLE = """
body { max-width: 78rem; }
.wide { overflow-x: auto; margin-top: 1rem; }
td { font-size: .95rem; white-space: nowrap; padding-left: 1.4rem; vertical-align: top; }
th { padding-left: 1.4rem; vertical-align: bottom; }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 17rem; max-width: 26rem; }
#options td:first-child { padding-left: 1.3rem; text-indent: -1.3rem; }
td.words, th.words { text-align: left; }
td svg { vertical-align: middle; }
th button { all: unset; cursor: pointer; white-space: nowrap; }
th button:focus-visible, input:focus-visible { outline: 2px solid #1f5a99; }
th[aria-sort=ascending] button::after { content: " ↑"; }
th[aria-sort=descending] button::after { content: " ↓"; }
.swatch { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; margin-right: .6rem; }
.better { color: #3a7d44; } .worse { color: #c8553d; } .unsure { color: var(--faint); }
.controls { display: flex; gap: 1rem; align-items: baseline; margin-top: 1.5rem; font-size: .9rem; }
input { font: inherit; padding: .3rem .6rem; width: 22rem; max-width: 100%; border: 1px solid var(--rule);
  border-radius: 4px; }
.charts { display: flex; flex-wrap: wrap; gap: 1.5rem; }
svg { max-width: none; font-family: inherit; }
.lit [data-option] { opacity: .12; } .lit [data-option].on { opacity: 1; } .lit tr.on td { background: #f7f7f5; }
.lit tr[data-option] { opacity: 1; }
[hidden] { display: none; }
"""
SCRIPT = """
const rows = [...document.querySelectorAll('#options tbody tr')];
const marks = option => document.querySelectorAll('[data-option="' + option + '"]');
const filter = document.querySelector('#filter');
const number = cell => cell.dataset.value === '' ? null : Number(cell.dataset.value);
filter.addEventListener('input', () => {
  const words = filter.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const hide = !words.every(word => text.includes(word));
    for (const mark of marks(row.dataset.option)) mark.toggleAttribute('hidden', hide);
    shown += hide ? 0 : 1;
  }
  document.querySelector('#shown').textContent = shown + ' of ' + rows.length + ' options';
});
document.querySelectorAll('#options th button').forEach((button, column) => {
  button.addEventListener('click', () => {
    const head = button.parentElement;
    const words = rows[0].children[column].dataset.value === undefined, now = head.getAttribute('aria-sort');
    const down = now ? now === 'ascending' : !words;
    for (const other of head.parentElement.children) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const sign = down ? -1 : 1;
    const order = (a, b) => {
      const left = a.children[column], right = b.children[column];
      if (words) return sign * left.textContent.localeCompare(right.textContent);
      const x = number(left), y = number(right);
      return x === null ? (y === null ? 0 : 1) : y === null ? -1 : sign * (x - y);
    };
    rows.sort(order).forEach(row => row.parentElement.append(row));
  });
});
for (const mark of document.querySelectorAll('[data-option]')) {
  const light = on => () => {
    document.body.classList.toggle('lit', on);
    for (const one of marks(mark.dataset.option)) one.classList.toggle('on', on);
  };
  mark.addEventListener('mouseenter', light(true));
  mark.addEventListener('mouseleave', light(false));
}
"""


def write_sweep_page(
    path: Path,
    *,
    title: str,
    note: str,
    against: str | None,
    over: str,
    options: Sequence[Mapping[str, Any]],
    scores: Mapping[str, str],
    costs: Mapping[str, tuple[str, float]],
    choices: Mapping[str, Mapping[str, str]],
    effects: Sequence[Mapping[str, Any]],
    curves: Sequence[Curve],
    notes: Sequence[str],
) -> Path:
    """Write the page of a sweep.

    Args:
        path: The file to write.
        title: Heading of the page.
        note: How many jobs, over what the spread is, and what orders the options.
        against: The option that all others are compared with; None: nothing was compared.
        over: What the intervals are over, such as "seeds and people".
        options: A row per option in their order: `option`, `NAME/mean`, `NAME/std` and `NAME/count` of every score and
            cost, and `difference`, `low`, `high`, `p` and `word` of `test/mAP` and `test/rank1`, None where missing.
        scores: Headings of the scores, which are fractions.
        costs: Headings of the costs, and what their values are divided by.
        choices: By choice, each option's value.
        effects: A row per choice and value: `choice`, `value`, `validation/mAP`, `test/mAP`, `combinations`.
        curves: Validation mAP of the jobs by epoch.
        notes: What could not be compared and which jobs failed.

    Returns:
        The page's path.
    """
    names = [str(option["option"]) for option in options]
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="note">{escape(note)}.</p>',
        '<div class="controls"><input id="filter" type="search" placeholder="Filter options" '
        f'aria-label="Filter options"><span id="shown" class="note">{len(options)} of {len(options)} options</span></div>',
        _leaderboard(options, scores, costs, against),
        _how(against, over),
        "".join(f'<p class="note">{escape(sentence)}</p>' for sentence in notes),
        _section("Effect of each choice", _effects(effects) if effects else ""),
        _section("Learning curves", _wide(learning_curves(curves, names)) if curves else "", CURVES_CAPTION),
        _section("Choices and scores", _coordinates(names, options, choices, scores)),
        _section(
            "Score and cost", _scatters(options, costs), "Bars are one standard deviation over the runs."
        ),
    ]
    with atomic_path(path) as temporary:
        temporary.write_text(
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(title)}</title>\n<style>{STYLE}{SWEEP_STYLE}</style>\n</head>\n<body>\n"
            + "\n".join(part for part in body if part)
            + f"\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
            encoding="utf-8",
            errors="backslashreplace",  # names of files that are not UTF-8
        )
    return path


CURVES_CAPTION = "Validation mAP in percent, a line per job in the colour of its option."


def _section(heading: str, content: str, caption: str = "") -> str:
    if not content:
        return ""
    below = f'<p class="note">{escape(caption)}</p>' if caption else ""
    return f"<h2>{escape(heading)}</h2>{content}{below}"


def _wide(content: str) -> str:
    return f'<div class="wide">{content}</div>'


def _how(against: str | None, over: str) -> str:
    if against is None:
        return ""
    return (
        f'<p class="note">Differences are from {escape(against)} on the test set, in percent points, with their 95 % '
        f"intervals over {escape(over)}. The words hold for all comparisons together (Holm's correction), so that one "
        "may be not distinguishable although its own interval leaves zero out. Validation orders and selects; "
        "the test set does not.</p>"
    )


def _leaderboard(
    options: Sequence[Mapping[str, Any]],
    scores: Mapping[str, str],
    costs: Mapping[str, tuple[str, float]],
    against: str | None,
) -> str:
    compared = COMPARED if against is not None else {}
    reach = {name: _reach(options, name) for name in compared}
    heads = ["option", *scores.values(), "runs"]
    heads += [head for title in compared.values() for head in (f"{title} is", f"Δ {title}", "interval")]
    heads += [heading for heading, _ in costs.values()]
    cells = []
    for place, option in enumerate(options):
        row = [
            f'<td><span class="swatch" style="background:{color(place)}"></span>{escape(str(option["option"]))}</td>'
        ]
        row += [_score(option.get(f"{name}/mean"), option.get(f"{name}/std")) for name in scores]
        count = max(option.get(f"{name}/count") or 0 for name in scores)
        row.append(f'<td data-value="{count}">{count}</td>')
        for name in compared:
            row += _difference(option, name, reach[name]) if option["option"] != against else _reference()
        row += [_cost(option.get(f"{name}/mean"), unit) for name, (_, unit) in costs.items()]
        cells.append(f'<tr data-option="{place}">{"".join(row)}</tr>')
    head = "".join(
        f'<th{" class=words" if text.endswith(" is") else ""}><button type="button">{escape(text)}</button></th>'
        for text in heads
    )
    return _wide(f'<table id="options"><thead><tr>{head}</tr></thead><tbody>{"".join(cells)}</tbody></table>')


def _reach(options: Sequence[Mapping[str, Any]], name: str) -> float:
    """Return the end in percent points of the axis on which all intervals of a score are drawn."""
    edges = [option.get(f"{name}/{end}") for option in options for end in ("difference", "low", "high")]
    return 100 * max((abs(edge) for edge in edges if edge is not None), default=0.0) or 1.0


def _value(value: float | None, text: str) -> str:
    return f'<td data-value="{"" if value is None else repr(float(value))}">{text}</td>'


def _score(mean: float | None, spread: float | None) -> str:
    if mean is None:
        return _value(None, "")
    return _value(mean, f"{100 * mean:.1f}" + (f" ± {100 * spread:.1f}" if spread is not None else ""))


def _cost(mean: float | None, unit: float) -> str:
    if mean is None:
        return _value(None, "")
    return _value(mean, f"{mean / unit:,.0f}" if mean / unit >= 100 else f"{mean / unit:.2f}")


def _difference(option: Mapping[str, Any], name: str, reach: float) -> list[str]:
    gap, low, high = (option.get(f"{name}/{part}") for part in ("difference", "low", "high"))
    word = str(option.get(f"{name}/word") or "unknown")
    kind = word if word in ("better", "worse") else "unsure"
    if gap is None:
        return [f'<td class="words {kind}">{escape(word)}</td>', _value(None, ""), _value(None, "")]
    text, drawn = f"{100 * gap:+.1f}", ""
    if low is not None and high is not None:
        text += f" [{100 * low:+.1f}, {100 * high:+.1f}]"
        drawn = interval(100 * gap, 100 * low, 100 * high, reach)
    return [f'<td class="words {kind}">{escape(word)}</td>', _value(gap, text), _value(gap, drawn)]


def _reference() -> list[str]:
    return ['<td class="words unsure">reference</td>', _value(0.0, ""), _value(0.0, "")]


def _effects(effects: Sequence[Mapping[str, Any]]) -> str:
    rows, previous = [], None
    for row in effects:
        choice = "" if row["choice"] == previous else str(row["choice"])
        previous = row["choice"]
        numbers = "".join(_score(row.get(name), None) for name in ("validation/mAP", "test/mAP"))
        rows.append(
            f'<tr><td>{escape(choice)}</td><td class="words">{escape(str(row["value"]))}</td>{numbers}'
            f"<td>{row['combinations']}</td></tr>"
        )
    return (
        _wide(
            '<table><tr><th>choice</th><th class="words">value</th><th>val mAP</th><th>test mAP</th>'
            f"<th>combinations</th></tr>{''.join(rows)}</table>"
        )
        + '<p class="note">Means over all else; only combinations that every value was run with.</p>'
    )


def _percent(options: Sequence[Mapping[str, Any]], name: str) -> dict[str, float | None]:
    return {
        str(option["option"]): None if option.get(f"{name}/mean") is None else 100 * option[f"{name}/mean"]
        for option in options
    }


def _coordinates(
    names: Sequence[str],
    options: Sequence[Mapping[str, Any]],
    choices: Mapping[str, Mapping[str, str]],
    scores: Mapping[str, str],
) -> str:
    measured = {
        heading: _percent(options, name)
        for name, heading in scores.items()
        if name.endswith("/mAP") and any(option.get(f"{name}/mean") is not None for option in options)
    }
    if not measured or not choices or len(options) < 2:
        return ""
    return _wide(parallel_coordinates(names, choices, measured))


def _scatters(options: Sequence[Mapping[str, Any]], costs: Mapping[str, tuple[str, float]]) -> str:
    tested = any(option.get("test/mAP/mean") is not None for option in options)
    name, heading = ("test/mAP", "test mAP") if tested else ("validation/mAP", "validation mAP")
    drawn = []
    for cost, (label, unit) in costs.items():
        points = [
            Point(
                place,
                f"{option['option']}: {100 * option[f'{name}/mean']:.1f}, {option[f'{cost}/mean'] / unit:.4g} {label}",
                option[f"{cost}/mean"] / unit,
                100 * option[f"{name}/mean"],
                None if option.get(f"{name}/std") is None else 100 * option[f"{name}/std"],
            )
            for place, option in enumerate(options)
            if option.get(f"{name}/mean") is not None and option.get(f"{cost}/mean") is not None
        ]
        if points:
            drawn.append(scatter(points, f"{label} — {heading} above"))
    return f'<div class="charts">{"".join(drawn)}</div>' if drawn else ""
