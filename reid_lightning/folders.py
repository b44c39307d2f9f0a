"""Folders that are written again: the old one or the new one is there at any moment."""

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reid_lightning.errors import InputError
from reid_lightning.files import beside, remove_leftovers, writing

_HERE = -100  # AT_FDCWD: paths are those of the process
_SWAP = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def replaced(folder: Path, own: str) -> Iterator[Path]:
    """Yield a folder to fill, which takes the place of `folder` when it is whole.

    The two change places in one step of the file system, so that a kill at any moment leaves the old folder or the new one.
    On a file system that cannot do that, such as NFS, there is none for the moment between two renames. What killed
    processes left beside `folder` is removed. Of two processes that write it at once the last one wins.

    Args:
        folder: A folder, or nothing; a link is replaced, and what it leads to is left alone.
        own: File that every such folder holds, by which it is known as one of ours.

    Raises:
        InputError: The folder cannot be written, also by what the block writes; or the one that is there holds something
            else, which would be lost.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "report"
        >>> for text in ("old", "new"):
        ...     with replaced(folder, "page") as part:
        ...         _ = (part / "page").write_text(text)
        >>> (folder / "page").read_text(), [file.name for file in folder.parent.iterdir()]
        ('new', ['report'])
    """
    folder = Path(os.path.abspath(folder))
    require_own(folder, own)
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        part = beside(folder)
        try:
            part.mkdir()
            yield part
            _put(part, folder)
        except InputError as error:
            raise InputError(str(error).replace(str(part), str(folder))) from error
        finally:
            _remove(part)


def require_own(folder: Path, own: str) -> None:
    """Refuse a folder that is not empty and none of ours, because writing it again would remove what it holds.

    Args:
        folder: It need not be there.
        own: File that every folder of ours holds.

    Raises:
        InputError: It holds other files.
    """
    if folder.is_dir() and not folder.is_symlink() and not (folder / own).is_file() and any(folder.iterdir()):
        raise InputError(
            f"{folder} holds other files than a page, which would be lost: move it, or choose another folder for the page."
        )


def _put(part: Path, folder: Path) -> None:
    """Let a whole folder take a place; what was there stands in its own place then, or is removed."""
    if not os.path.lexists(folder):
        try:
            part.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another process was faster
                raise
        else:
            return
    if folder.is_file() and not folder.is_symlink():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if swapped(part, folder):
        return
    old = beside(folder)
    folder.rename(old)
    try:
        part.rename(folder)
    finally:
        _remove(old)


def swapped(first: Path, second: Path) -> bool:
    """Let two paths of one file system change places in one step; False where the system cannot do that.

    Raises:
        OSError: It can, and refuses these.
    """
    library = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(first), os.fsencode(second)
    if sys.platform == "darwin":
        call, arguments = getattr(library, "renamex_np", None), (*paths, _SWAP)
    else:
        call, arguments = getattr(library, "renameat2", None), (_HERE, paths[0], _HERE, paths[1], _SWAP)
    if call is None:
        return False
    if call(*arguments) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(second))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
