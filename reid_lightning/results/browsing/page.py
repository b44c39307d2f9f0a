"""Everything that the page of a run lets people look into, written and counted."""

import logging
from contextlib import ExitStack
from pathlib import Path

import torch

from reid_lightning.folders import replaced
from reid_lightning.results.browsing.content import DATA, content_of
from reid_lightning.results.browsing.folder import FOLDER, write_folder
from reid_lightning.results.browsing.lists import ranked_lists_of
from reid_lightning.results.browsing.sections import Sections, history_of, sections_of
from reid_lightning.retrieval.camera_pairs import CameraPairs
from reid_lightning.systems.task import Run

log = logging.getLogger("reid_lightning")

__all__ = ["FOLDER", "browse"]


def browse(
    run: Run,
    folder: Path,
    name: str,
    protocol: str,
    pairs: CameraPairs | None,
    full: bool,
    page: ExitStack,
    required: bool = False,
) -> tuple[Sections, str]:
    """Write the folder beside a run's page.

    Whatever goes wrong is a warning: no result is worth less than its page.

    Args:
        run: After its last evaluation.
        folder: Where to; it is replaced when the page has been written.
        name: What the run is called.
        protocol: How its numbers were taken, in one line.
        pairs: Scores of camera pairs, where there are any.
        full: Whether there is a folder at all; otherwise the page has charts alone.
        page: Left when the page has been written; the new folder takes its place then, and not before.
        required: Whether what goes wrong is an error.

    Returns:
        Charts and tables, and what the page knows the folder by; empty where there is no folder.

    Raises:
        InputError: The folder cannot be written, and is required.
    """
    if not full or run.rows is None:
        return Sections(history=history_of(run.output_dir)), ""
    try:
        with torch.compiler.set_stance("force_eager"):
            lists = ranked_lists_of(run.rows, run.ranking, run.protocol)
            table, schema = run.datamodule.table, run.datamodule.attributes
            content = content_of(lists, run.ranking, pairs, table, schema, name, protocol)
            sections = sections_of(run, lists, pairs)
            with ExitStack() as written:
                mark = write_folder(content, lists, run, written.enter_context(replaced(folder, DATA)))
                page.push(written.pop_all())
            return sections, mark
    except Exception as error:
        if required:
            raise
        log.warning(
            "the queries are not on the page (%s: %s); numbers and files of the run are not affected",
            type(error).__name__,
            error,
        )
        return Sections(history=history_of(run.output_dir)), ""
