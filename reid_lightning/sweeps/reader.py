"""What a sweep has found: its job folders as a table, and its summary on every way out."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from reid_lightning.config.plain_file import read_mapping, read_plain
from reid_lightning.config.schema import changes_result, repetitions
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, read_own
from reid_lightning.sweeps.fingerprint import settings
from reid_lightning.sweeps.job_files import job_files

log = logging.getLogger("reid_lightning")

SEED, SPLIT = repetitions()  # results are averaged over both
LARGEST = 1e100  # of a number in metrics.json
MOST_SAID = 2000  # characters of a reason
FAILURE = "failure.txt"  # in a job's folder: why the job has no result


def record_failure(folder: Path, error: Exception) -> None:
    """Write into a job's folder why it failed, so that the sweep can go on and tell at its end."""
    sentence = (str(error).strip() or "no message").splitlines()[0]
    reason = sentence if isinstance(error, InputError) else f"{type(error).__name__}: {sentence}"
    log.error("this job failed: %s", reason, exc_info=None if isinstance(error, InputError) else error)
    with atomic_path(folder / FAILURE) as temporary:
        temporary.write_text(reason + "\n", encoding="utf-8", errors="backslashreplace")


def forget_failure(folder: Path) -> None:
    """Remove the reason of an earlier failure from the folder of a job that has succeeded."""
    (folder / FAILURE).unlink(missing_ok=True)


def read_sweep(folder: str | Path) -> pd.DataFrame:
    """Read the job folders of a sweep, or of several sweeps below one folder.

    Args:
        folder: Holds job folders at any depth; each has `.hydra/overrides.yaml` and, when finished,
            `metrics.json`.

    Returns:
        A row per job, in their order: `job` (folder relative to the sweep's), `option` (the overrides that differ
        between jobs, the seed and the split left out), `seed` (and split), `split` (missing where the data set has one),
        `failure` (why there is no result, missing where there is one), `override/KEY` (text) for every override,
        `PART/NAME` for every number in a part of `metrics.json` (validation, test, cost, people, tasks and reports), and
        `cost/seconds`, the sum of all stages.

    Raises:
        InputError: There is no job below the folder.
    """
    folder = Path(folder)
    found = sorted(job_files(folder), key=lambda path: _natural(path.relative_to(folder)))
    rows, facts = zip(
        *(_read_job(path.parent.parent, folder) for path in _last_asked_for(found)), strict=True
    )
    jobs = pd.DataFrame(rows)
    jobs.insert(1, "option", _told_apart(_options(jobs), jobs, facts))
    return jobs


def _last_asked_for(found: list[Path]) -> list[Path]:
    """Leave out jobs that another one of the same sweep and overrides has replaced, of changed defaults, data or code."""
    last: dict[tuple[Path, str], Path] = {}
    for path in sorted(found, key=lambda path: path.stat().st_mtime_ns):
        if (path.parents[1] / "identity.json").is_file():
            last[path.parents[2], repr(read_plain(path))] = path
    kept = set(last.values())
    return [path for path in found if path in kept or not (path.parents[1] / "identity.json").is_file()]


def _read_job(folder: Path, sweep: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a job's row, and what its result follows from beside its seed."""
    identity = read_mapping(folder / "identity.json")
    lines = read_plain(folder / ".hydra/overrides.yaml")
    if not isinstance(lines, list):
        raise InputError(
            f"{folder / '.hydra/overrides.yaml'} holds no list of overrides; remove the job's folder, or repeat the job"
        )
    swept = identity.get("swept")
    swept = [str(key) for key in swept] if isinstance(swept, list) else None
    overrides = dict(_split(str(line)) for line in lines)
    row: dict[str, Any] = {"job": str(folder.relative_to(sweep)), "seed": overrides.pop(SEED, None)}
    split = row["split"] = overrides.pop(SPLIT, None)
    # A setting of the machine sets jobs apart only where the sweep varies it.
    left_out = (
        [] if swept is None else [key for key in overrides if not changes_result(key) and key not in swept]
    )
    row |= {"failure": None}
    row |= {f"override/{key}": value for key, value in overrides.items() if key not in left_out}
    config = read_mapping(folder / "config.yaml")
    if "seed" in config:
        row["seed"] = str(config["seed"])
    facts = settings(config, swept or ())
    facts |= {name: identity[name] for name in ("data", "code") if config and name in identity}
    if split is not None:
        row["seed"] = f"{row['seed']}, split {split}"
        facts.pop("data", None)  # each split is a table of its own
    row |= _results(folder)
    return row, facts


def _results(folder: Path) -> dict[str, Any]:
    """Return the numbers of a job, or why there are none."""
    metrics, failure = folder / "metrics.json", folder / FAILURE
    if failure.is_file():
        return {"failure": _reason(failure)}
    if not metrics.is_file():
        return {"failure": "no metrics.json: still running, or ended from outside"}
    written = read_plain(metrics)
    if not isinstance(written, dict) or not {"validation", "test"} & set(written):
        return {"failure": "metrics.json is broken: the sweep's command trains the job again"}
    protocol = written.get("protocol")
    row: dict[str, Any] = {"protocol": protocol if isinstance(protocol, str | None) else str(protocol)}
    for part, values in written.items():  # also of tasks and reports
        if isinstance(values, dict):
            numbers = {name: value for name, value in values.items() if _is_number(value)}
            row |= {f"{part}/{name}": value for name, value in numbers.items()}
    cost = written.get("cost")
    seconds = cost.get("seconds") if isinstance(cost, dict) else None
    if isinstance(seconds, dict) and seconds and all(map(_is_number, seconds.values())):
        row["cost/seconds"] = sum(seconds.values())
    return row


def _reason(file: Path) -> str:
    try:
        return read_own(file).decode(errors="backslashreplace").strip()[:MOST_SAID]
    except OSError:
        return f"{FAILURE} cannot be read"


def _is_number(value: Any) -> bool:
    """Return whether a value is a number that tables and JSON can hold: no infinity, no whole number above all floats."""
    return isinstance(value, int | float) and abs(value) < LARGEST


def _split(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key.lstrip("+"), value


def _natural(path: Path) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]


def _options(jobs: pd.DataFrame) -> list[str]:
    """Return the name of each job's option: what sets it apart, or all overrides where nothing does."""
    overrides = jobs.filter(regex="^override/")
    differing = [name for name in overrides if overrides[name].nunique(dropna=False) > 1]
    named = overrides[differing] if differing else overrides
    return [", ".join(_short(row.dropna())) or "default" for _, row in named.iterrows()]


def _told_apart(options: list[str], jobs: pd.DataFrame, facts: Sequence[dict[str, Any]]) -> list[str]:
    """Complete the names of options whose jobs differ in more than their seeds: a changed default, data or code."""
    named = list(options)
    for option in set(options):
        places = [place for place, name in enumerate(options) if name == option and facts[place]]
        keys = sorted({key for place in places for key in facts[place]})
        values = {key: [str(facts[place].get(key)) for place in places] for key in keys}
        own = [
            values.get("seed", []),
            [str(jobs["split"][place]) for place in places],
        ]  # what follows from these
        differing = [key for key in keys if len(set(values[key])) > 1 and values[key] not in own]
        for place in places if differing else ():
            told = [f"{key}={str(facts[place].get(key))[:12]}" for key in differing[:3]]
            named[place] = f"{option} ({', '.join(told)})"
    return named


def _short(overrides: pd.Series) -> list[str]:
    """Return KEY=VALUE of each override, of a nested group only the last name."""
    return [f"{str(name).rsplit('/', 1)[-1]}={value}" for name, value in overrides.items()]
