"""Where a sweep and its jobs lie, so that the same command finds them again.

**The sweep's folder** is named after the command (`multirun/loss_seed_1a2b3c4d`) when the command line is read, before Hydra
sees it. It then is an override like one that the user gave, which every launcher carries to every job; an interpolation
would see each job's own overrides. `hydra.sweep.dir=DIR` takes its place, and several commands may share a DIR.

**A job's folder** is named after its fingerprint (see `fingerprint.py`) by a resolver in `hydra.sweep.subdir`. Hydra asks
for it in the process that runs the job, whatever the launcher, and makes the folder only then; so nothing is written
elsewhere first, and the name follows from the job's config alone. The overrides in front of the hash are for the reader:
a folder with the same hash is the same job.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from reid_lightning.config.choices import swept_keys
from reid_lightning.config.resolve import quoted
from reid_lightning.config.schema import bundles, keys_that_change, matches

ROOT = "multirun"
_NOT_SHOWN = "hydra.job.config.override_dirname.exclude_keys"


def with_folder(arguments: Sequence[str]) -> list[str]:
    """Return the command line of a sweep with the sweep's folder, and with what does not belong into a job's name.

    Args:
        arguments: The command line without the program.

    Examples:
        >>> with_folder(["seed=1"])
        ['seed=1']
        >>> with_folder(["-m", "seed=1,2", "loss=circle"])[3:]
        ["hydra.job.config.override_dirname.exclude_keys=['loss']", "hydra.sweep.dir='multirun/seed_14327c83'"]
    """
    if not {"-m", "--multirun"} & set(arguments):
        return list(arguments)
    lines = [line for line in arguments if line[0] != "-" and ("=" in line or line[0] == "~")]
    try:
        overrides = [OverridesParser.create().parse_override(line) for line in lines]
    except HydraException:
        return list(arguments)  # Hydra says what is wrong
    own = [override for override in overrides if not override.key_or_group.startswith("hydra")]
    fixed = sorted({override.key_or_group for override in own if not override.is_sweep_override()})
    added = [f"{_NOT_SHOWN}=[{','.join(map(quoted, fixed))}]"]
    if not any(override.key_or_group == "hydra.sweep.dir" for override in overrides):
        added.append(f"hydra.sweep.dir={quoted(f'{ROOT}/{_name(own)}')}")
    place = arguments.index(lines[-1]) + 1 if lines else len(arguments)  # overrides stand side by side
    return [*arguments[:place], *added, *arguments[place:]]


def _name(overrides: Sequence[Override]) -> str:
    """Return the name of the sweep that these overrides make, whatever their order and whatever machine runs it."""
    overrides = sorted(overrides, key=lambda override: str(override.input_line))
    swept = [override for override in overrides if override.is_sweep_override()]
    machine = keys_that_change("machine")
    counting = [one for one in overrides if one in swept or not matches(one.key_or_group, machine)]
    chosen = [one for one in overrides if one.key_or_group in bundles() and one not in swept]
    names = [
        *(str(one.value()) for one in chosen),
        *(one.key_or_group.rsplit(".", 1)[-1] for one in swept),
    ]
    digest = hashlib.blake2b(
        "\n".join(str(one.input_line) for one in counting).encode(), digest_size=4
    ).hexdigest()
    return _label(",".join(names) or "sweep", digest)


def job_folder(*, _root_: Any) -> str:
    """Return the name of a job's folder below its sweep's folder; a resolver of Hydra's config.

    Args:
        _root_: The job's whole config, with its node `hydra`.
    """
    from reid_lightning.experiments.source_tables import TABLES
    from reid_lightning.sweeps.fingerprint import fingerprint

    settings = _root_.hydra
    job = fingerprint(_root_, TABLES, swept_keys(settings))
    existing = sorted(path.name for path in Path(settings.sweep.dir).glob(f"*{job.name}"))
    return existing[0] if existing else _label(settings.job.override_dirname, job.name)


# `${job_folder:}` is the name of a sweep's job.
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)


def _label(text: str, digest: str) -> str:
    """Return a readable folder name that ends with a hash."""
    shown = re.sub(r"[^\w.-]+", "_", text.replace("=", "-"))  # nothing that needs quotes in an override
    return "_".join(filter(None, [shown[:80].strip("_"), digest]))
