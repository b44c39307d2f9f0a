"""Everything that the page of a run lets people look into, written and counted."""

import logging
from pathlib import Path

import torch

from reid_lightning.results.browsing.content import content_of
from reid_lightning.results.browsing.folder import FOLDER, write_folder
from reid_lightning.results.browsing.lists import ranked_lists_of
from reid_lightning.results.browsing.sections import Sections, history_of, sections_of
from reid_lightning.retrieval.camera_pairs import CameraPairs
from reid_lightning.systems.task import Run

log = logging.getLogger("reid_lightning")

__all__ = ["FOLDER", "browse"]


def browse(
    run: Run, folder: Path, name: str, protocol: str, pairs: CameraPairs | None, full: bool
) -> tuple[Sections, bool]:
    """Write the folder beside a run's page.

    Whatever goes wrong is a warning: no result is worth less than its page.

    Args:
        run: After its last evaluation.
        folder: Where to; it is replaced when the new one is whole.
        name: What the run is called.
        protocol: How its numbers were taken, in one line.
        pairs: Scores of camera pairs, where there are any.
        full: Whether there is a folder at all; otherwise the page has charts alone.

    Returns:
        Charts and tables, and whether the folder was written.
    """
    if not full or run.rows is None:
        return Sections(history=history_of(run.output_dir)), False
    try:
        with torch.compiler.set_stance("force_eager"):
            lists = ranked_lists_of(run.rows, run.ranking, run.protocol)
            table, schema = run.datamodule.table, run.datamodule.attributes
            content = content_of(lists, run.ranking, pairs, table, schema, name, protocol)
            write_folder(content, lists, run, folder)
            return sections_of(run, lists, pairs), True
    except Exception as error:
        log.warning(
            "the queries are not on the page (%s: %s); numbers and files of the run are not affected",
            type(error).__name__,
            error,
        )
        return Sections(history=history_of(run.output_dir)), False
