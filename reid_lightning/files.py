"""Where derived files live and how they are written: whole or not at all."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import platformdirs

from reid_lightning.errors import InputError

log = logging.getLogger("reid_lightning")


def cache_dir() -> Path:
    """Return the folder for generated data sets and decoded images.

    `REID_LIGHTNING_CACHE` names it; otherwise it is the user's cache folder.
    """
    named = os.environ.get("REID_LIGHTNING_CACHE")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("reid-lightning"))


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; rename it to `path` on success, remove it on failure.

    Works for a file and for a folder (the body makes the folder). An existing folder at `path` is kept and the
    new one dropped, because another process has then finished the same work first.

    Raises:
        InputError: A file is to be written where a folder is.

    Examples:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part{path.suffix}")
    try:
        yield temporary
        if path.is_dir():
            if temporary.is_dir():
                return
            raise InputError(f"{path} is a folder; name a file to write.")
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


@contextmanager
def file_lock(path: str | Path, waiting: str | None = None) -> Iterator[None]:
    """Hold an exclusive lock between processes; the operating system frees it when a holder dies.

    Args:
        path: The lock file. It is created and stays (removing it would let two holders in).
        waiting: Said in the log where another process holds it.
    """
    import fcntl

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                log.info(waiting)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
