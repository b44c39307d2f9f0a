"""The command lines of a sweep: the one that started it, and those that repeat one of its options."""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from reid_lightning.config.plain_file import read_mapping, read_plain
from reid_lightning.config.schema import repetitions
from reid_lightning.errors import printable
from reid_lightning.results.card_facts import without_place

PROGRAM = "python train.py"
OWN = ("hydra.mode=", "hydra.sweep.dir=", "hydra.job.config.override_dirname.exclude_keys=")
"""What a sweep adds to its command line by itself."""


def command_of_sweep(folder: Path) -> str:
    """Return the command that a sweep was last started with, without folders of its machine; empty where it is not known."""
    with suppress(AttributeError, KeyError, TypeError):
        settings = read_mapping(folder / "multirun.yaml")
        overrides = settings["hydra"]["overrides"]
        params = settings["hydra"]["sweeper"].get("params") or {}
        own = [line for line in overrides["hydra"] if not line.startswith(OWN)]
        named = {_key(line) for line in overrides["task"]}
        swept = [f"{key}={value}" for key, value in params.items() if key not in named]
        return _line([*overrides["task"], *swept, *own], multirun=True)
    return ""


def commands_of_options(folder: Path, jobs: pd.DataFrame) -> dict[str, str]:
    """Return the command that repeats each option with all of its seeds, without folders of its machine.

    Args:
        folder: The sweep's folder; every job's overrides are read.
        jobs: As `read_sweep` returns them.
    """
    commands = {}
    for option, rows in jobs.groupby("option", sort=False):
        lines = [_overrides(folder / str(job)) for job in rows["job"]]
        lines = [line for line in lines if line]
        if lines:
            commands[str(option)] = repeating(lines)
    return commands


def repeating(jobs: Sequence[Sequence[str]]) -> str:
    """Return the command of jobs that differ in their seeds (or splits) alone.

    Examples:
        >>> repeating([["loss=triplet", "seed=1", "data.root=/home/me"], ["loss=triplet", "seed=2", "data.root=/home/me"]])
        'python train.py --multirun loss=triplet data.root=DIR seed=1,2'
        >>> repeating([["loss=[triplet,center]"]])
        "python train.py 'loss=[triplet,center]'"
    """
    repeated = {key: dict.fromkeys(_values(jobs, key)) for key in repetitions()}
    fixed = [line for line in jobs[0] if _key(line) not in repeated]
    ends = [f"{key}={','.join(values)}" for key, values in repeated.items() if values]
    return _line([*fixed, *ends], multirun=any(len(values) > 1 for values in repeated.values()))


def _line(overrides: Sequence[str], multirun: bool) -> str:
    quoted = [shlex.quote(printable(without_place(line))) for line in overrides]
    return " ".join([PROGRAM, *(["--multirun"] if multirun else []), *quoted])


def _values(jobs: Sequence[Sequence[str]], key: str) -> list[str]:
    return [line.partition("=")[2] for lines in jobs for line in lines if _key(line) == key]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _overrides(folder: Path) -> list[str]:
    """Return the overrides of a job, none where they cannot be read."""
    read = read_plain(folder / ".hydra" / "overrides.yaml")
    return [str(line) for line in read] if isinstance(read, list) else []
