"""A run from Python: overrides become a config as on the command line."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra

from reid_lightning.config.command_line import readable
from reid_lightning.config.leftover import without_leftover
from reid_lightning.config.refused import REFUSED, in_our_words
from reid_lightning.config.resolve import CONF, plain, quoted
from reid_lightning.errors import InputError
from reid_lightning.experiments.run import run_job
from reid_lightning.results.summary import RunResult


def compose(overrides: Sequence[str], output_dir: str | Path) -> dict[str, Any]:
    """Return the plain, resolved config of a run.

    Args:
        overrides: As on the command line, such as `backbone=resnet18`.
        output_dir: Folder of the run.

    Raises:
        InputError: A key or an option does not exist, or a value that has no default is not given.
    """
    overrides = readable(overrides)
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose("config", [*overrides, f"output_dir={quoted(output_dir)}"])
    except REFUSED as error:
        if (said := in_our_words(error, overrides)) is None:
            raise
        raise InputError("; ".join(said)) from error
    without_leftover(config, overrides)
    return plain(config)


def run(*overrides: str, output_dir: str | Path | None = None) -> RunResult | None:
    """Train, evaluate and report one run, as `python train.py OVERRIDES` does.

    Args:
        *overrides: As on the command line: `run("backbone=resnet18", "data=market1501", "data.root=DIR")`. A sweep needs
            the command line.
        output_dir: Folder of the run; None: `outputs/DATE/TIME`.

    Returns:
        The result; None if `time_limit` has ended the run before its last epoch.

    Raises:
        InputError: Anything in the overrides or the data that cannot be used.
    """
    if output_dir is None:
        output_dir = Path("outputs") / datetime.now().strftime("%Y-%m-%d/%H-%M-%S")
    return run_job(compose(overrides, Path(output_dir).absolute()))
