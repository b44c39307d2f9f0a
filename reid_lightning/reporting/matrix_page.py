"""The page of several models on several data sets: one HTML file that needs no network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from reid_lightning.reporting.charts import Chart, Line, line_chart
from reid_lightning.reporting.matrix_charts import Timed, short_name
from reid_lightning.reporting.render import write_page


def write_matrix_page(
    path: Path,
    *,
    title: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    links: Sequence[str],
    notes: Sequence[str],
    facts: Mapping[str, str],
    sets: Sequence[str] = (),
    heat: Sequence[tuple[str, Sequence[float | None]]] = (),
    timed: Sequence[Timed] = (),
) -> Path:
    """Write the page of a comparison.

    Args:
        path: The file to write.
        title: Heading of the page.
        head: Headings of the table.
        rows: Its rows as text, the model and the data set first.
        links: By row, the folder with its own `report.html` as seen from the page; empty where it has none.
        notes: What failed or could not be scored, a sentence each.
        facts: Protocols, devices and files.
        sets: The data sets, columns of the table of colors.
        heat: Its rows: a model, and its mAP on each data set, None where it has none; empty for no such table.
        timed: Points of the chart of mAP over time; empty for no such chart.

    Returns:
        The page's path.
    """
    addresses = [f"{quote(link, errors='surrogateescape')}/report.html" if link else "" for link in links]
    return write_page(
        "matrix.html.j2",
        path,
        title=title,
        head=head,
        rows=list(zip(rows, addresses, strict=True)),
        notes=notes,
        facts=facts,
        sets=sets,
        heat=heat,
        latency=latency_chart(timed) if timed else None,
    )


def latency_chart(timed: Sequence[Timed]) -> Chart:
    """Draw mAP in percent over milliseconds per image: a point for each model and data set, a color per data set."""
    sets = list(dict.fromkeys(point.data for point in timed))
    highest = {
        model: max((point for point in timed if point.model == model), key=lambda point: point.mean_ap)
        for model in dict.fromkeys(point.model for point in timed)
    }
    named: set[str] = set()
    lines = []
    for point in timed:
        ends = [] if point.interval is None else [(100 * point.interval[0], 100 * point.interval[1])]
        lines.append(
            Line(
                point.data,
                [(point.milliseconds, 100 * point.mean_ap)],
                ends,
                color=sets.index(point.data),
                label=short_name(point.model) if highest[point.model] is point else "",
                listed=len(sets) > 1 and point.data not in named,
            )
        )
        named.add(point.data)
    return line_chart(
        lines,
        title="",
        x_label="milliseconds per image, one at a time",
        y_label="mAP, percent",
        caption="Bars are the 95 % interval of the mAP over people.",
        x_range=(0.0, 1.1 * max(point.milliseconds for point in timed)),
        y_range=(0.0, 100.0),
        width=720,
        height=340,
    )
