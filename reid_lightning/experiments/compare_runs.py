"""Two runs compared query by query, as a page."""

import os
import shutil
from pathlib import Path
from typing import Any

from reid_lightning.errors import InputError
from reid_lightning.experiments.report_run import report_run
from reid_lightning.files import require_writable
from reid_lightning.reporting.charts import Line, line_chart
from reid_lightning.reporting.render import write_page
from reid_lightning.reporting.terminal import say
from reid_lightning.results.browsing.compare import Compared, compared, joined
from reid_lightning.results.browsing.content import DATA, read_data, write_data
from reid_lightning.results.browsing.folder import FOLDER, replaced


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
    folders = [Path(first), Path(second)]
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder: name the folder of a finished run.")
    if folders[0].resolve() == folders[1].resolve():
        raise InputError(f"{first} and {second} are one run: name two.")
    output = Path(output)
    if output.resolve() in [folder.resolve() for folder in folders]:
        raise InputError(f"{output} is the folder of a run: name another with --output.")
    require_writable(output)
    for folder in folders:
        if not (folder / FOLDER / DATA).is_file():
            say(f"{folder}: its page has no queries yet, so it is written again")
            report_run(folder)
    pages = [read_data(folder / FOLDER) for folder in folders]
    try:
        for folder, own in zip(folders, pages, strict=True):
            own["runs"][0]["name"] = folder.resolve().name
        data, origin = joined(*pages)
        found = compared(data)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise InputError(
            f"the data of a page in {folders[0]} or {folders[1]} are damaged: write both again with `reid report run DIR`."
        ) from error
    with replaced(output / FOLDER) as part:
        (part / "images").mkdir()
        for number, (side, image) in enumerate(origin):
            shutil.copyfile(
                folders[side] / FOLDER / "images" / f"{image}.jpg", part / "images" / f"{number}.jpg"
            )
        write_data(data, part)
    names = [run["name"] for run in data["runs"]]
    page = write_page(
        "compare.html.j2",
        output / "compare.html",
        title=f"{names[0]} and {names[1]}",
        names=names,
        links=[f"{Path(os.path.relpath(folder, output)).as_posix()}/report.html" for folder in folders],
        found=found,
        notes=_notes(pages, found),
        cmc=_cmc(data),
        protocols=[page["protocol"] for page in pages],
        data=FOLDER,
    )
    say(f"report: {page}")
    return page


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
