"""Where derived files are stored, and how they are written atomically.

Locks are those of POSIX (`flock`), which the operating system frees when a process dies.
"""

import contextlib
import errno
import logging
import os
import re
import shutil
import socket
import stat
import time
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from reid_lightning.errors import InputError

log = logging.getLogger("reid_lightning")

_DAY = 86_400.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def cache_dir() -> Path:
    """Return the folder for generated data sets and decoded images.

    `REID_LIGHTNING_CACHE` names it; otherwise it is the user's cache folder.
    """
    import platformdirs

    named = os.environ.get("REID_LIGHTNING_CACHE")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("reid-lightning"))


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; rename it to `path` on success, remove it on failure.

    The content is on the disk before the rename, and the sibling lies in the same folder, so that a kill or a power
    failure at any moment leaves the old file or the new one. What killed processes left beside `path` is removed.

    Works for a file and for a folder (the body makes the folder). An existing folder at `path` is kept and the
    new one dropped, because another process has then finished the same work first.

    Raises:
        InputError: The disk is full, the folder cannot be written to, a file is to be written where a folder is, or
            `path` is a device or a pipe, which a rename would remove.

    Examples:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    with writing(path):
        _refuse_device(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        temporary = beside(path)
        try:
            yield temporary
            if path.is_dir():
                if temporary.is_dir():
                    return
                raise InputError(f"{path} is a folder; name a file to write.")
            if temporary.is_file():
                _to_disk(temporary)
            temporary.replace(path)
            _to_disk(path.parent)
        finally:
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Report a full disk or a folder without write permission as one sentence that names the folder.

    Args:
        path: The file or folder that the block writes.

    Raises:
        InputError: The system refuses to write there.
    """
    path = Path(path)
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise InputError(
                f"{path} cannot be written because the disk of {path.parent} is full: free some space, or choose a "
                "folder on another disk."
            ) from error
        if error.errno in _DENIED:
            raise InputError(
                f"{path} cannot be written because {path.parent} is read-only for this user: change its permissions, or "
                "choose another folder."
            ) from error
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(
                f"{path} cannot be written because its name is too long: choose a shorter one."
            ) from error
        if isinstance(error, FileExistsError | NotADirectoryError):
            file = next((above for above in path.parents[::-1] if above.is_file()), error.filename)
            raise InputError(
                f"{path} cannot be written because {file} is a file and not a folder: choose another folder."
            ) from error
        raise


def require_writable(folder: str | Path) -> None:
    """Refuse a folder that cannot be written to, before any work whose result would be lost; the folder is made.

    Raises:
        InputError: The system refuses to write there, or the disk is full.
    """
    folder = Path(folder)
    probe = folder / f".{uuid4().hex}.probe"
    with writing(folder / "files"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:  # in /proc
            raise InputError(f"{folder} cannot be made: choose another folder.") from error
        try:
            probe.write_bytes(b"\0" * 65536)  # more than the first small files of a run
        finally:
            probe.unlink(missing_ok=True)


@contextmanager
def folder_for(folder: str | Path) -> Iterator[None]:
    """Require a folder that can be written to, for a block that writes into it; where the block fails, none is left empty.

    Raises:
        InputError: The system refuses to write there, or the disk is full.

    Examples:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "new" / "folder"
        >>> with contextlib.suppress(ValueError), folder_for(place):
        ...     raise ValueError("nothing to write")
        >>> place.parent.exists()
        False
    """
    folder = Path(folder)
    made = [above for above in (folder, *folder.parents) if not os.path.exists(above)]  # Path.exists raises
    require_writable(folder)
    try:
        yield
    except BaseException:
        for empty in made:
            with contextlib.suppress(OSError):  # something lies in it
                empty.rmdir()
        raise


def require_output(path: str | Path, endings: Collection[str] = ()) -> None:
    """Refuse a file that cannot be written, before any work whose result would be lost; its folder is made.

    Args:
        path: The file that will be written by `atomic_path`.
        endings: Endings of which it must have one, such as `.npz`; empty: any.

    Raises:
        InputError: It has another ending, is a folder or a device, or cannot be written where it lies.
    """
    path = Path(path)
    if endings and path.suffix.lower() not in endings:
        names = ", ".join(endings)
        raise InputError(
            f"{path} must end in {names}: rename it."
            if len(endings) == 1
            else f"{path} must end in one of {names}."
        )
    with writing(path):
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file to write.")
        _refuse_device(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:  # in /proc
            raise InputError(
                f"{path.parent} cannot be made: choose another folder for {path.name}."
            ) from error
        probe = beside(path)
        try:
            probe.write_bytes(b"\0" * 4096)
        finally:
            probe.unlink(missing_ok=True)


def _refuse_device(path: Path) -> None:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path} is a device or a pipe; name a file to write.")


def read_own(path: str | Path, most: int = 64_000_000) -> bytes:
    """Return the bytes of a file that the project has written itself, whatever lies in its place now.

    A pipe, which nobody may ever write to, is not waited for, and of a device or a huge file not everything is read.

    Args:
        path: The file.
        most: Bytes that it may have.

    Raises:
        OSError: It is not there, no file, larger, or cannot be read; `strerror` says which.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device and not a file", str(path))
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"it has more than {most // 10**6} MB", str(path))
        return file.read(most)


def require_regular(path: str | Path) -> None:
    """Refuse what is not a file before another library opens it: opening a pipe waits for a writer.

    Raises:
        OSError: It is not there, or no file.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device and not a file", str(path))


def remove_leftovers(path: str | Path) -> None:
    """Remove what killed processes left of writing `path`: temporary siblings whose writer no longer runs.

    Those of another host, whose processes cannot be seen, and of earlier versions, which named no process, are removed
    after a day.

    Args:
        path: A file or folder; in its name `*` stands for any text.
    """
    path = Path(path)
    wanted = re.escape(path.name).replace(r"\*", ".+")
    name = re.compile(rf"\.{wanted}\.((?P<host>.+)-(?P<process>\d+)\.)?[0-9a-f]{{8}}\.part.*")
    for entry in os.scandir(path.parent):
        found = name.fullmatch(entry.name)
        if found is None or _is_at_work(found["host"], int(found["process"] or 0), entry):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            Path(entry.path).unlink(missing_ok=True)


def _is_at_work(host: str | None, process: int, entry: os.DirEntry[str]) -> bool:
    if host != _host():
        try:
            return time.time() - entry.stat(follow_symlinks=False).st_mtime < _DAY
        except FileNotFoundError:
            return True  # its writer is done with it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def beside(path: Path) -> Path:
    """Return a new name in the same folder, which `remove_leftovers` knows when this process has died."""
    return path.with_name(f".{path.name}.{_writer()}.{uuid4().hex[:8]}.part{path.suffix}")


def _writer() -> str:
    return f"{_host()}-{os.getpid()}"


def _host() -> str:
    return re.sub(r"[^\w-]", "_", socket.gethostname())[:32] or "host"


def _to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot do it for folders
            raise
    finally:
        os.close(handle)


@contextmanager
def file_lock(path: str | Path, waiting: str | None = None, refusing: str | None = None) -> Iterator[None]:
    """Hold an exclusive lock between processes; the operating system frees it when a holder dies.

    Args:
        path: The lock file. It is created and stays (removing it would let two holders in).
        waiting: Said in the log where another process holds it.
        refusing: The error where another process holds it; None waits.

    Raises:
        InputError: Another process holds it, and `refusing` is given; something else lies in its place; or the folder cannot
            be written to.
    """
    import fcntl

    path = Path(path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a file, and holds no lock: remove it.")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if refusing is not None:
                raise InputError(refusing) from None
            if waiting is not None:
                log.info(waiting)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            log.warning(
                "the file system of %s has no locks: do not let two processes work there", path.parent
            )
        yield


def is_compressed(path: Path) -> bool:
    """Tell whether a zip archive, as torch writes, holds compressed parts; a damaged one is left to its reader."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False
