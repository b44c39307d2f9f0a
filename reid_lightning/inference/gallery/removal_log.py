"""The log of what has been removed from a gallery: a line of JSON for each removal, kept after the vectors are gone."""

import json
import os
from pathlib import Path
from typing import Any

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, read_own, writing

LOG = "removed.jsonl"
LARGEST = 2_000_000_000  # bytes: some ten million removed images


def append(folder: Path, entry: dict[str, Any]) -> None:
    """Add a line, which counts once the gallery's manifest has reached its `change`; it is on the disk on return.

    Raises:
        InputError: Something else lies in its place, or the folder cannot be written to.
    """
    path = folder / LOG
    if os.path.lexists(path) and not path.is_file():
        raise _unreadable(path, "it is not a file")
    with writing(path), path.open("ab") as file:
        file.write(json.dumps(entry).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def committed(folder: Path, change: int) -> list[dict[str, Any]]:
    """Return the removals that took place, the oldest first; lines that are not of this log are passed over.

    Raises:
        InputError: The log cannot be read.
    """
    return [entry for _, entry in _lines(folder) if entry is not None and entry["change"] <= change]


def trim(folder: Path, change: int) -> None:
    """Take off the last lines where they are of a removal that was killed before it took place."""
    lines = _lines(folder)
    keep = len(lines)
    while keep and (lines[keep - 1][1] is None or lines[keep - 1][1]["change"] > change):  # type: ignore[index]
        if lines[keep - 1][1] is None and lines[keep - 1][0].endswith(b"\n"):
            break  # somebody's own line, and not one that was cut off
        keep -= 1
    if keep < len(lines):
        with atomic_path(folder / LOG) as temporary:
            temporary.write_bytes(b"".join(line for line, _ in lines[:keep]))


def _lines(folder: Path) -> list[tuple[bytes, dict[str, Any] | None]]:
    path = folder / LOG
    try:
        content = read_own(path, LARGEST)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(path, error.strerror) from error
    return [(line, _entry(line)) for line in content.splitlines(keepends=True)]


def _unreadable(path: Path, reason: str | None) -> InputError:
    return InputError(
        f"The log {path} of what was removed cannot be used ({reason}): restore it from a copy, or move it away."
    )


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    fits = isinstance(entry, dict) and type(entry.get("change")) is int and line.endswith(b"\n")
    return entry if fits else None
