"""The page of a run: its numbers, charts, pictures and settings, and where there is a folder beside it every query."""

import base64
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid_lightning.reporting.render import write_page

COUNTS = ("queries", "queries_without_match")


@dataclass(frozen=True)
class Picture:
    """A picture of the page, under its own heading."""

    title: str
    path: Path
    caption: str = ""
    width: float = 62
    """Widest display in rem (62: the whole page)."""

    def data_uri(self) -> str:
        """Return the picture as an address that holds it."""
        kind = mimetypes.guess_type(self.path.name)[0] or "image/png"
        return f"data:{kind};base64,{base64.b64encode(self.path.read_bytes()).decode('ascii')}"


def write_report(
    run_dir: str | Path,
    *,
    title: str,
    protocol: str,
    scores: Mapping[str, Mapping[str, float]],
    facts: Mapping[str, str],
    pictures: Sequence[Picture],
    config: str,
    header: Sequence[str] = (),
    intervals: Mapping[str, Sequence[float]] | None = None,
    sections: Any = None,
    data: str | None = None,
    mark: str = "",
    brief: str = "",
    links: Mapping[str, str] | None = None,
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
        header: Lines below the title.
        intervals: 95 % interval of the mAP by stage.
        sections: Charts and tables (`results.browsing.sections.Sections`); None for none.
        data: Name of the folder beside the page that holds every query; None if there is none.
        mark: What the data in that folder are known by: a page shows no others.
        brief: What the page says in place of the queries where there are none.
        links: Files beside the page, and what they are called.

    Returns:
        The page's path.
    """
    scores = {stage: values for stage, values in scores.items() if values}
    names = list(dict.fromkeys(name for values in scores.values() for name in values if name not in COUNTS))
    return write_page(
        "run.html.j2",
        Path(run_dir) / "report.html",
        title=title,
        header=header,
        protocol=protocol,
        counts=_counts(scores),
        scores=scores,
        columns=[(name, _name(name)) for name in names if not name.endswith("_std")],
        intervals=intervals or {},
        facts=facts,
        pictures=pictures,
        config=config,
        sections=sections,
        data=data,
        mark=mark,
        brief=brief,
        links=links or {},
    )


def _name(name: str) -> str:
    if name.startswith("rank") and name[4:].isdigit():
        return f"Rank-{name[4:]}"
    return "mAP (trapezoids)" if name == "mAP_trapezoid" else name


def _counts(scores: Mapping[str, Mapping[str, float]]) -> str:
    return "".join(
        f" {stage.capitalize()}: {int(summary['queries']):,} queries, of which "
        f"{int(summary['queries_without_match']):,} have no true match and are left out."
        for stage, summary in scores.items()
        if all(name in summary for name in COUNTS)
    )
