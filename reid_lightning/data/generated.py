"""A folder of generated files: made once for its parameters, whole or not at all."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, cache_dir, file_lock


def generated_tree(
    kind: str, root: str | Path | None, parameters: Mapping[str, Any], write: Callable[[Path], None]
) -> Path:
    """Return the folder of a generated set, which is written first unless it is there.

    Args:
        kind: What is generated, such as `pedestrians`.
        root: Folder of the tree; None puts it into the cache, in a folder named after the parameters.
        parameters: All that the files depend on, the generator's version included.
        write: Fills the new folder that it is given, `describe` included.

    Raises:
        InputError: `root` holds something else, or a set of other parameters.
    """
    folder = Path(root).expanduser() if root is not None else cache_dir() / f"{kind}-{_digest(parameters)}"
    with file_lock(folder.with_name(f".{folder.name}.lock")):
        if not _is_complete(kind, folder, parameters):
            with atomic_path(folder) as temporary:
                write(temporary)
    return folder


def describe(kind: str, folder: Path, parameters: Mapping[str, Any]) -> None:
    """Write the parameters into the folder, by which a later run knows it."""
    (folder / f"{kind}.json").write_text(json.dumps(parameters, indent=1) + "\n")


def _is_complete(kind: str, folder: Path, parameters: Mapping[str, Any]) -> bool:
    """Tell whether the tree is there; refuse a folder that holds something else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        if folder.exists():
            folder.rmdir()
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
