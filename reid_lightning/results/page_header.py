"""What stands above a run's page: when, with what command, by which code, on what data and machine."""

import os
import platform
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from reid_lightning import __version__
from reid_lightning.data.table import SPLITS
from reid_lightning.errors import printable
from reid_lightning.results.card_facts import counts, of_hydra
from reid_lightning.systems.task import Run

FILES = {
    "checkpoints/README.md": "model card",
    "metrics.json": "numbers (JSON)",
    "queries.csv": "a row per query (CSV)",
    "rankings.csv": "ranked lists (CSV)",
    "metrics.csv": "what was logged (CSV)",
    "config.yaml": "settings",
}


def header_of(run: Run) -> list[str]:
    """Return the lines below a page's title; what is not known is left out, cameras excepted."""
    command, _ = of_hydra(run.output_dir)
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    code = commit()
    lines = [
        f"Written {written} by reid-lightning {__version__}{f', code at commit {code}' if code else ''}; seed "
        f"{run.config['seed']}; {machine(run.device)}.",
        f"Command: train.py {' '.join(map(printable, command))}" if command else "",
        *data_lines(counts(run.datamodule.table)),
    ]
    return [line for line in lines if line]


def data_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line per source: images, people and cameras of its splits.

    Examples:
        >>> data_lines([{"source": "m", "split": "query", "images": 1200, "identities": 90, "cameras": 0}])
        ['Data m: query 1,200 images of 90 people (cameras unknown: none is excluded).']
    """
    lines: dict[str, list[str]] = {}
    for row in sorted(
        rows, key=lambda row: SPLITS.index(row["split"]) if row["split"] in SPLITS else len(SPLITS)
    ):
        cameras = f"{row['cameras']:,} cameras" if row["cameras"] else "cameras unknown: none is excluded"
        said = f"{row['split']} {row['images']:,} images of {row['identities']:,} people ({cameras})"
        lines.setdefault(row["source"], []).append(said)
    return [f"Data {source}: {', '.join(said)}." for source, said in lines.items()]


def links_of(folder: Path) -> dict[str, str]:
    """Return the files of a run that the page links to."""
    found = {name: title for name, title in FILES.items() if (folder / name).is_file()}
    for checkpoint in sorted((folder / "checkpoints").glob("*.ckpt"))[:4]:
        found[f"checkpoints/{checkpoint.name}"] = f"checkpoint {checkpoint.name}"
    return found


def machine(device: torch.device) -> str:
    """Return the processor or the GPU in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{name}, {cores} {'core' if cores == 1 else 'cores'}"


def commit(place: Path | None = None) -> str:
    """Return the commit of the repository that the command was called in; empty outside of one.

    Its files are read: the program git would run what a stranger's repository configures.

    Args:
        place: Folder inside of the repository; None is the current one.
    """
    place = Path.cwd() if place is None else place
    with suppress(OSError, ValueError):
        git = next(
            (folder / ".git" for folder in (place, *place.parents) if (folder / ".git").exists()), None
        )
        if git is None:
            return ""
        if git.is_file():  # a work tree beside its repository
            git = git.parent / _line(git).removeprefix("gitdir: ")
        head = _line(git / "HEAD")
        if not head.startswith("ref: "):
            return _short_hash(head)
        name = head.removeprefix("ref: ")
        if not re.fullmatch(r"refs/[\w./-]+", name) or ".." in name:
            return ""
        common = git / _line(git / "commondir") if (git / "commondir").is_file() else git
        if (common / name).is_file():
            return _short_hash(_line(common / name))
        for line in (common / "packed-refs").read_text(encoding="ascii").splitlines():
            if line.endswith(f" {name}"):
                return _short_hash(line)
    return ""


def _line(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.read(4096).decode("utf-8").strip()


def _short_hash(text: str) -> str:
    return text[:7] if re.fullmatch(r"[0-9a-f]{40,64}( .*)?", text) else ""
