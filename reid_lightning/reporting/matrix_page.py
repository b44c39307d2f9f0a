"""The page of several models on several data sets: one HTML file that needs no network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from reid_lightning.reporting.page import Picture
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
    pictures: Sequence[Picture],
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
        pictures: Embedded in this order.

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
        pictures=pictures,
    )
