"""What stands above a sweep's page: how many jobs, when, by which code, on what machines."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from reid_lightning.config.plain_file import read_mapping
from reid_lightning.results.card_facts import FACTS, read_facts

SHOWN = 4
"""Machines, commits and seeds that are named; of more, how many there are."""


def header_of(folder: Path, jobs: pd.DataFrame) -> list[str]:
    """Return the lines below the page's title; what is not known is left out.

    Args:
        folder: The sweep's folder.
        jobs: As `read_sweep` returns them.
    """
    failed = int(jobs["failure"].notna().sum())
    seeds = [str(seed) for seed in jobs["seed"].dropna().unique()]
    line = f"{_count(len(jobs), 'job')} of {_count(jobs['option'].nunique(), 'option')}"
    line += f", seed{'s' if len(seeds) != 1 else ''} {_list(seeds, 12)}" if seeds else ""
    lines = [f"{line}; {failed or 'none'} failed."]
    folders = [folder / str(job) for job in jobs["job"]]
    if times := [time for one in folders if (time := _changed(one / "metrics.json")) is not None]:
        first, last = (
            datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M") for time in (min(times), max(times))
        )
        lines.append(f"Finished {first}{f' to {last}' if last != first else ''} UTC.")
    found = [_facts(one) for one in folders]
    for title, key in (("Code", "versions"), ("Commit", "commit"), ("Machine", "machine")):
        values = list(dict.fromkeys(facts[key] for facts in found if facts[key]))
        if values:
            lines.append(f"{title}: {_list(values, SHOWN, '; ')}.")
    return lines


def _facts(job: Path) -> dict[str, str]:
    """Return the versions, commit and machine of a job, empty where they are not known."""
    identity = read_mapping(job / "identity.json")
    found = {key: str(identity.get(key) or "") for key in ("commit", "machine")}
    versions = read_facts(job / "checkpoints" / FACTS).versions
    if not versions and "version" in identity:
        versions = {"reid-lightning": str(identity["version"])}
    return found | {"versions": ", ".join(f"{name} {version}" for name, version in versions.items())}


def _changed(file: Path) -> float | None:
    with suppress(OSError):
        return file.stat().st_mtime
    return None


def _count(number: int, of: str) -> str:
    return f"{number:,} {of}{'' if number == 1 else 's'}"


def _list(values: Iterable[str], most: int, between: str = ", ") -> str:
    """Name a few and count the rest.

    Examples:
        >>> _list("abc", 2)
        'a, b and 1 more'
    """
    values = list(values)
    shown = between.join(values[:most])
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"
