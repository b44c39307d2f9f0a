"""The page of a run: one HTML file with its numbers, pictures and config, that needs no network."""

import base64
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from reid_lightning.files import atomic_path

COUNTS = ("queries", "queries_without_match")
STYLE = """
:root { color-scheme: light; --ink: #222; --faint: #777; --rule: #ddd; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 3rem 1.5rem 5rem; color: var(--ink); background: #fff;
  font: 16px/1.55 "Source Serif 4", "Iowan Old Style", Charter, Georgia, "DejaVu Serif", serif; }
h1 { font-size: 1.9rem; font-weight: 600; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; font-weight: 600; margin: 3rem 0 .6rem; padding-top: .7rem;
  border-top: 1px solid var(--rule); }
p { margin: .5rem 0; max-width: 46rem; }
.note, figcaption, dt, th { color: var(--faint); }
.note, figcaption { font-size: .9rem; }
.scores { overflow-x: auto; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums lining-nums; }
th { font-weight: 400; font-size: .9rem; text-align: right; padding: 0 0 .3rem 2rem; white-space: nowrap; }
td { text-align: right; padding: .25rem 0 .25rem 2rem; font-size: 1.35rem; border-top: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; padding-left: 0; font-size: .95rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.5rem; margin: 0; font-size: .95rem; }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0 0; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { margin-top: .5rem; max-width: 46rem; }
summary { cursor: pointer; }
pre { overflow-x: auto; padding: 1rem; background: #f7f7f5; font: .8rem/1.5 ui-monospace, "SF Mono", Menlo,
  Consolas, "DejaVu Sans Mono", monospace; }
@media print { body { padding: 0; max-width: none; } figure { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Picture:
    """A picture of the page, under its own heading."""

    title: str
    path: Path
    caption: str = ""
    width: float = 62
    """Widest display in rem (62: the whole page)."""


def write_report(
    run_dir: str | Path,
    *,
    title: str,
    protocol: str,
    scores: Mapping[str, Mapping[str, float]],
    facts: Mapping[str, str],
    pictures: Sequence[Picture],
    config: str,
) -> Path:
    """Write `report.html` into a run's folder.

    Args:
        run_dir: The run's folder.
        title: Heading of the page.
        protocol: The line that names how the scores were taken.
        scores: By stage ("validation", "test"), a ranking's summary: fractions by name, their standard deviations as
            `NAME_std` where there are any, and counts of queries.
        facts: What else is worth a line: data, model, cost.
        pictures: Embedded in this order.
        config: The run's config as text.

    Returns:
        The page's path.
    """
    facts_list = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    body = [
        f"<h1>{escape(title)}</h1>",
        _scores(scores),
        f'<p class="note">{escape(protocol)}.{_counts(scores)}</p>',
        *(_picture(picture) for picture in pictures),
        f"<h2>Run</h2><dl>{facts_list}</dl>" if facts else "",
        "<h2>Config</h2><details><summary>Every value of this run</summary>"
        f"<pre>{escape(config)}</pre></details>",
    ]
    path = Path(run_dir) / "report.html"
    with atomic_path(path) as temporary:
        temporary.write_text(
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
            + "\n".join(body)
            + "\n</body>\n</html>\n",
            encoding="utf-8",
            errors="backslashreplace",  # names of files that are not UTF-8
        )
    return path


def _scores(scores: Mapping[str, Mapping[str, float]]) -> str:
    names = list(dict.fromkeys(n for summary in scores.values() for n in summary if n not in COUNTS))
    names = [name for name in names if not name.endswith("_std")]  # written beside its mean
    head = "".join(f"<th>{escape(_name(name))}</th>" for name in names)
    rows = [
        f"<tr><td>{escape(stage)}</td>"
        + "".join(_cell(summary.get(name), summary.get(f"{name}_std")) for name in names)
        + "</tr>"
        for stage, summary in scores.items()
        if summary
    ]
    return f'<div class="scores"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'


def _cell(value: float | None, spread: float | None) -> str:
    if value is None:
        return "<td></td>"
    return f"<td>{100 * value:.1f}" + (f" ± {100 * spread:.1f}" if spread is not None else "") + "</td>"


def _name(name: str) -> str:
    if name.startswith("rank") and name[4:].isdigit():
        return f"Rank-{name[4:]}"
    return "mAP (trapezoids)" if name == "mAP_trapezoid" else name


def _counts(scores: Mapping[str, Mapping[str, float]]) -> str:
    sentences = [
        f" {stage.capitalize()}: {int(summary['queries']):,} queries, of which "
        f"{int(summary['queries_without_match']):,} have no true match and are left out."
        for stage, summary in scores.items()
        if all(name in summary for name in COUNTS)
    ]
    return escape("".join(sentences))


def _picture(picture: Picture) -> str:
    kind = mimetypes.guess_type(picture.path.name)[0] or "image/png"
    data = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    return (
        f'<h2>{escape(picture.title)}</h2><figure><img alt="{escape(picture.title)}" '
        f'style="width: {picture.width:g}rem" src="data:{kind};base64,{data}">{caption}</figure>'
    )
