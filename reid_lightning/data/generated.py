"""A folder of generated files: made once for its parameters, written atomically, and made again if it was changed."""

import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, beside, cache_dir, file_lock, remove_leftovers, writing

_PICTURES = (".jpg", ".png")
_SHOWN = 3  # files that a message names

logger = logging.getLogger("reid_lightning")


def generated_tree(
    kind: str, root: str | Path | None, parameters: Mapping[str, Any], write: Callable[[Path], None]
) -> Path:
    """Return the folder of a generated set, which is written first unless it is there as it was written.

    Files that were changed, removed or added since would change the numbers of a run. In the cache the set is then written
    again; a folder that the user names is left alone.

    Args:
        kind: What is generated, such as `pedestrians`.
        root: Folder of the tree; None puts it into the cache, in a folder named after the parameters.
        parameters: All that the files depend on, the generator's version included.
        write: Fills the new folder that it is given, `describe` included.

    Raises:
        InputError: `root` holds something else, a set of other parameters, or one that was changed.
    """
    folder = Path(root).expanduser() if root is not None else cache_dir() / f"{kind}-{_digest(parameters)}"
    for leftover in folder.parent.glob(f".{kind}-*.part"):  # of other parameters too
        remove_leftovers(folder.with_name(leftover.name[1:].split(".")[0]))
    if _is_complete(kind, folder, parameters) and not _changes(kind, folder):
        return folder  # without the lock, which a folder without write permission refuses
    with file_lock(folder.with_name(f".{folder.name}.lock")):
        complete = _is_complete(kind, folder, parameters)
        if complete and (changes := _changes(kind, folder)):
            if root is not None:
                raise InputError(
                    f"{folder} is not as it was drawn ({changes}): remove it, and it is drawn again, or choose another root."
                )
            logger.warning("%s is not as it was drawn (%s): it is drawn again.", folder, changes)
            with writing(folder):
                aside = folder.rename(
                    beside(folder)
                )  # a kill while files are removed leaves no half of a set
                shutil.rmtree(aside, ignore_errors=True)
            complete = False
        if not complete:
            if folder.is_dir():  # empty
                folder.rmdir()
            with atomic_path(folder) as temporary:
                write(temporary)
    return folder


def _manifest(kind: str, folder: Path) -> Path:
    return folder / f"{kind}.files.json"


def _write_manifest(kind: str, folder: Path) -> None:
    """List the pictures with size and checksum."""
    listed = {
        name: (status.st_size, zlib.crc32((folder / name).read_bytes()))
        for name, status in sorted(_pictures(folder).items())
    }
    _manifest(kind, folder).write_text(json.dumps(listed) + "\n")


def _pictures(folder: Path) -> dict[str, os.stat_result]:
    """Return all pictures below a folder."""
    found, start = {}, len(os.path.join(folder, ""))
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.endswith(_PICTURES):
                path = os.path.join(parent, name)
                found[path[start:]] = os.stat(path)
    return found


def _changes(kind: str, folder: Path) -> str:
    """Return what has been done to the pictures since they were drawn, "" for nothing or where no list tells.

    A picture's content is read only where the file has been changed, or copied, after the list was written.
    """
    found, manifest = _pictures(folder), _manifest(kind, folder)
    try:
        written = manifest.stat().st_ctime_ns
        listed = {name: (size, crc) for name, (size, crc) in json.loads(manifest.read_text()).items()}
    except FileNotFoundError:  # drawn before there was a list
        return ""
    except (ValueError, TypeError, AttributeError):
        return f"{manifest.name} cannot be read"
    touched = [name for name, status in found.items() if status.st_ctime_ns > written and name in listed]
    changed = [
        name
        for name in listed.keys() & found.keys()
        if found[name].st_size != listed[name][0]
        or (found[name].st_ctime_ns > written and zlib.crc32((folder / name).read_bytes()) != listed[name][1])
    ]
    if touched and not changed:
        with suppress(OSError):
            os.utime(manifest)  # so that they are not read the next time
    groups = {
        "missing": sorted(listed.keys() - found.keys()),
        "added": sorted(found.keys() - listed.keys()),
        "changed": sorted(changed),
    }
    return "; ".join(
        f"{', '.join(names[:_SHOWN])}{f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''} {how}"
        for how, names in groups.items()
        if names
    )


def describe(kind: str, folder: Path, parameters: Mapping[str, Any]) -> None:
    """Write the parameters and a list of the pictures into the folder, by which a later run knows it."""
    _write_manifest(kind, folder)
    (folder / f"{kind}.json").write_text(json.dumps(parameters, indent=1) + "\n")


def _is_complete(kind: str, folder: Path, parameters: Mapping[str, Any]) -> bool:
    """Tell whether the tree is there; refuse a folder that holds something else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = json.loads((folder / f"{kind}.json").read_text())
    except (OSError, ValueError):
        raise InputError(
            f"{folder} holds no generated {kind}: choose an empty or a new folder as root."
        ) from None
    differing = [
        f"{key}={found.get(key)} instead of {value}"
        for key, value in parameters.items()
        if found.get(key) != value
    ]
    if differing:
        raise InputError(
            f"{folder} holds {kind} of other parameters ({', '.join(differing)}): remove it or choose another root."
        )
    return True


def _digest(parameters: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:12]
