"""What a folder must hold to be looked at as a finished run: checked before slow imports."""

import os
from collections.abc import Sequence
from pathlib import Path

from reid_lightning.errors import InputError
from reid_lightning.results.summary import METRICS, RunResult

CARD = "card.json"
PAGE_DATA = "report/data.js"
"""File of a run's page that a comparison reads."""
PLACES = ("refit/checkpoints", "checkpoints")
"""Where a run's checkpoints lie, that of its numbers first."""


def require_run(folder: Path) -> RunResult:
    """Return the numbers of a finished run.

    Raises:
        InputError: The folder is missing, or holds several runs, or none that has finished.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: name the folder of a finished run.")
    if not (folder / METRICS).exists() and next(folder.glob(f"*/{METRICS}"), None) is not None:
        raise InputError(
            f"{folder} holds several runs: name one of them, or use `reid report sweep {folder}`."
        )
    result = RunResult.read(folder)
    if not any((folder / place / CARD).is_file() for place in PLACES):
        raise InputError(without_checkpoint(folder))
    return result


def without_checkpoint(folder: Path) -> str:
    """Return what is said of a folder without the checkpoint that its numbers are of."""
    return f"{folder} holds no checkpoint of a finished run: name the folder of a run, with checkpoints/{CARD} in it."


def require_two(folders: Sequence[Path], output: Path) -> None:
    """Refuse what cannot be compared.

    Args:
        folders: Of two runs.
        output: Folder of the comparison.

    Raises:
        InputError: A folder holds neither a page nor a finished run, both are one, or the output is one of them.
    """
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder: name the folder of a finished run.")
    if os.path.samefile(*folders):
        raise InputError(f"{folders[0]} and {folders[1]} are one run: name two.")
    if any(output.exists() and os.path.samefile(output, folder) for folder in folders):
        raise InputError(f"{output} is the folder of a run: name another with --output.")
    for folder in folders:
        if not (folder / PAGE_DATA).is_file():
            require_run(folder)
