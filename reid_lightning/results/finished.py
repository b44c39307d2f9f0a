"""Whether a run is finished: a mark in its folder that is written after everything else."""

import json
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from reid_lightning import __version__
from reid_lightning.config.plain_file import read_mapping
from reid_lightning.files import atomic_path

MARK = "run.json"


@rank_zero_only
def mark(folder: Path, finished: bool) -> None:
    """Write down that a run has begun (again), or that it has left everything that it promises."""
    with atomic_path(folder / MARK) as temporary:
        temporary.write_text(json.dumps({"finished": finished, "version": __version__}) + "\n")


def is_finished(folder: Path) -> bool:
    """Tell whether the run of a folder has left everything that it promises.

    Runs of earlier versions have no mark; one that has numbers and the page, which was written last, is finished.
    """
    if isinstance(finished := read_mapping(folder / MARK).get("finished"), bool):
        return finished
    return (folder / "metrics.json").is_file() and (folder / "report.html").is_file()
