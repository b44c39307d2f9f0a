"""Two runs compared query by query, as a page."""

import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from reid_lightning.errors import printable
from reid_lightning.experiments.finished_run import require_two
from reid_lightning.experiments.report_run import report_run
from reid_lightning.files import file_lock, read_own, require_writable
from reid_lightning.folders import replaced, require_own
from reid_lightning.reporting.charts import Line, line_chart
from reid_lightning.reporting.render import write_page
from reid_lightning.reporting.terminal import say
from reid_lightning.reporting.thumbnails import HEIGHT, write_thumbnail
from reid_lightning.results.browsing.compare import Compared, compared, joined
from reid_lightning.results.browsing.content import DATA, write_data
from reid_lightning.results.browsing.differences import differences
from reid_lightning.results.browsing.folder import FOLDER
from reid_lightning.results.browsing.read import read_data

log = logging.getLogger("reid_lightning")

LONGEST_NAME = 20
"""Characters of a run's name in tables and filters; longer ones are A and B there."""
LOCK = ".lock"
_JPEG = b"\xff\xd8\xff"


def compare_runs(first: str | Path, second: str | Path, output: str | Path = "comparison") -> Path:
    """Write a page that shows which queries one run answers right and another wrong, with both lists.

    A run whose page has no queries (a job of a sweep) has its page written first.

    Args:
        first: Folder of a finished run.
        second: Folder of another that was tested on the same data.
        output: Folder of the page.

    Returns:
        The page.

    Raises:
        InputError: A folder holds no finished run, the runs share no query, or the page cannot be written.
    """
    folders, output = [Path(first), Path(second)], Path(output)
    require_two(folders, output)
    require_writable(output)
    require_own(output / FOLDER, DATA)
    for folder in folders:
        if not (folder / FOLDER / DATA).is_file():
            say(f"{folder}: its page has no queries yet, so it is written again")
            report_run(folder)
    pages = [read_data(folder / FOLDER) for folder in folders]
    names, short = names_of(folders)
    for name, own in zip(short, pages, strict=True):
        own["runs"][0]["name"] = name
    data, origin = joined(*pages)
    found = compared(data)
    with (
        file_lock(output / LOCK, f"another process writes {output}: waiting for it"),
        replaced(output / FOLDER, DATA) as part,
    ):
        _copy_images(folders, origin, part / "images")
        mark = write_data(data, part)
        page = write_page(
            "compare.html.j2",
            output / "compare.html",
            title=f"{names[0]} and {names[1]}" if names == short else "Two runs, A and B",
            names=short,
            long=names,
            links=[_link(folder, output) for folder in folders],
            differences=differences(*folders),
            found=found,
            notes=_notes(pages, found),
            cmc=_cmc(data),
            protocols=[page["protocol"] for page in pages],
            data=FOLDER,
            mark=mark,
        )
    say(f"report: {page}")
    return page


def names_of(folders: list[Path]) -> tuple[list[str], list[str]]:
    """Return what two runs are called, and what they are called where space is short: A and B, if one name is long.

    Examples:
        >>> names_of([Path("x/run"), Path("y/run")])
        (['x/run', 'y/run'], ['A', 'B'])
    """
    places = [folder.resolve() for folder in folders]
    names = [place.name for place in places]
    if names[0] == names[1]:
        names = [f"{place.parent.name}/{place.name}" for place in places]
    names = [printable(name) for name in names]
    alike = names[0] == names[1] or len({place.name for place in places}) == 1
    return names, ["A", "B"] if alike or max(map(len, names)) > LONGEST_NAME else names


def _link(folder: Path, output: Path) -> str:
    path = f"{Path(os.path.relpath(folder.resolve(), output.resolve())).as_posix()}/report.html"
    return quote(path, errors="surrogateescape")


def _copy_images(folders: list[Path], origin: list[tuple[int, int]], target: Path) -> None:
    """Copy the small images of two pages into one folder, a gray tile for what is not there or is no such image."""
    target.mkdir()
    missing = [0, 0]
    for number, (side, image) in enumerate(origin):
        file, copy = folders[side] / FOLDER / "images" / f"{image}.jpg", target / f"{number}.jpg"
        content = _own_image(file)
        if content is None:
            missing[side] += 1
            write_thumbnail(np.full((HEIGHT, HEIGHT // 2, 3), 200, np.uint8), copy)
        else:
            copy.write_bytes(content)
    for folder, count in zip(folders, missing, strict=True):
        if count:
            log.warning(
                "%s of the small images of %s are missing, and gray on the page; `reid report run %s` writes them again",
                f"{count:,}", folder, folder,
            )  # fmt: skip


def _own_image(file: Path) -> bytes | None:
    """Return a small image of a page; None of a link, which may lead anywhere, and of anything else."""
    try:
        content = None if file.is_symlink() else read_own(file, 1_000_000)
    except OSError:
        return None
    return content if content is not None and content.startswith(_JPEG) else None


def _notes(pages: list[dict[str, Any]], found: Compared) -> list[str]:
    notes = []
    if pages[0]["protocol"] != pages[1]["protocol"]:
        notes.append("The protocols differ, so that more than the models may.")
    if pages[0]["gallery"] != pages[1]["gallery"]:
        notes.append(f"The galleries hold {pages[0]['gallery']:,} and {pages[1]['gallery']:,} images.")
    counts = [len(page["queries"]) for page in pages]
    if counts != [found.queries] * 2:
        notes.append(
            f"The pages hold {counts[0]:,} and {counts[1]:,} queries; {found.queries:,} are common and have a match."
        )
    return notes


def _cmc(data: dict[str, Any]) -> Any:
    lines = []
    for run in data["runs"]:
        ranks = [rank for rank in run["first"] if rank is not None]
        lines.append(
            Line(
                run["name"],
                [(k, 100 * sum(r <= k for r in ranks) / max(1, len(ranks))) for k in range(1, 51)],
            )
        )
    return line_chart(
        lines,
        title="Cumulative matching (CMC)",
        x_label="first k images of the list",
        y_label="queries answered, percent",
        x_whole=True,
        x_range=(1, 50),
    )
