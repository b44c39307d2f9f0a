"""Finding image files: which endings are images, which links are followed, and what is passed over."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from reid_lightning.data.cells import is_unicode, printable
from reid_lightning.errors import InputError

log = logging.getLogger("reid_lightning")

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
ENDING = r"\.(?:jpe?g|png|bmp|webp|tiff?)"  # of an image, for patterns of names that ignore case
_OF_THE_DESKTOP = ("thumbs.db", "desktop.ini")
_SHOWN = 5  # endings in a message


class ImageFiles:
    """The image files of a data set, folder by folder; hidden files and folders are left out.

    A link to a file, and one to a folder outside of the data set, is followed. One that leads to a folder that is read
    anyway, or around it, would give one person the images of others, and is refused.

    Args:
        root: The folder of the data set, which bounds where links may lead.

    Attributes:
        passed_over: How many files of each ending (or of which kind, where it is no file) are not read.

    Raises:
        InputError: A name is not UTF-8.
    """

    def __init__(self, root: str | Path) -> None:
        require_unicode(root)
        self.root = str(root)
        self.passed_over: Counter[str] = Counter()
        self._real_root = os.path.realpath(root)
        self._seen: dict[tuple[int, int], str] = {}
        self._read: dict[str, tuple[list[str], list[str]]] = {}

    def folders(self, folder: str | Path) -> list[str]:
        """Return the names of the folders in a folder, sorted."""
        return self._entries(folder)[0]

    def images(self, folder: str | Path, count: bool = True) -> list[str]:
        """Return the names of the images in a folder, sorted, and count the other files unless told not to."""
        return self._images(folder, self._entries(folder)[1], count)

    def images_below(self, folder: str | Path) -> list[str]:
        """Return the paths of the images at any depth of a folder, sorted by the names along each path."""
        found, waiting = [], [str(folder)]
        while waiting:
            parent = waiting.pop()
            folders, files = self._entries(parent)
            waiting += [os.path.join(parent, name) for name in folders]
            found += [os.path.join(parent, name) for name in self._images(parent, files)]
        paths = [path.removeprefix(f".{os.sep}") for path in found]
        return sorted(paths, key=lambda path: path.split(os.sep))

    def pass_over(self, kind: str, count: int = 1) -> None:
        """Count what else is not read."""
        self.passed_over[kind] += count

    def report(self) -> None:
        """Say in the log what is not read, where there is such."""
        if self.passed_over:
            kinds = [f"{count} {kind}" for kind, count in self.passed_over.most_common(_SHOWN)]
            more = "" if len(self.passed_over) <= _SHOWN else " and others"
            log.warning(
                "%s: %d files are not read, because they are not images (%s): %s%s",
                self.root,
                self.passed_over.total(),
                " ".join(suffix[1:] for suffix in IMAGE_SUFFIXES),
                ", ".join(kinds),
                more,
            )

    def _images(self, folder: str | Path, files: Sequence[str], count: bool = True) -> list[str]:
        images = []
        for name in files:
            if name.lower().endswith(IMAGE_SUFFIXES):
                require_unicode(folder, name)
                images.append(name)
            elif count and name.lower() not in _OF_THE_DESKTOP:
                self.pass_over(printable(os.path.splitext(name)[1].lower()) or "without an ending")
        return images

    def _entries(self, folder: str | Path) -> tuple[list[str], list[str]]:
        """Return the names of folders and of files, sorted each."""
        if str(folder) not in self._read:
            self._read[str(folder)] = self._scan(str(folder))
        return self._read[str(folder)]

    def _scan(self, folder: str) -> tuple[list[str], list[str]]:
        folders, files = [], []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name[0] == ".":
                        continue
                    if _is(entry, entry.is_dir):
                        require_unicode(folder, entry.name)
                        self._enter(entry)
                        folders.append(entry.name)
                    elif _is(entry, entry.is_file):
                        files.append(entry.name)
                    else:
                        self.pass_over("that are no files (a pipe, device or socket)")
        except OSError as error:
            raise InputError(f"{printable(folder)} cannot be read: {error.strerror}.") from None
        return sorted(folders), sorted(files)

    def _enter(self, entry: "os.DirEntry[str]") -> None:
        """Refuse a folder that is, or lies around, one that is read as another."""
        status = entry.stat()
        other = self._seen.setdefault((status.st_dev, status.st_ino), entry.path)
        if entry.is_symlink():
            real = os.path.realpath(entry.path)
            inside = real == self._real_root or real.startswith(self._real_root + os.sep)
            around = self._real_root.startswith(real.rstrip(os.sep) + os.sep)
            if inside or around:
                other = real
        if other != entry.path:
            raise InputError(
                f"{printable(entry.path)} leads to {printable(other)}, whose images are read already or are another "
                f"person's: remove this {'link' if entry.is_symlink() else 'folder or the link to it'}."
            )


def images_below(folder: str | Path) -> list[str]:
    """Return the image files at any depth of a folder, hidden ones left out, in the order of their names.

    Raises:
        InputError: A name is not UTF-8, or a link leads nowhere or to a folder that is read already.
    """
    files = ImageFiles(folder)
    found = files.images_below(folder)
    files.report()
    return found


def require_unicode(folder: str | Path, name: str = "") -> None:
    """Refuse a file name whose bytes are not UTF-8: a table, a page and a CSV file cannot hold it.

    Raises:
        InputError: Names the folder and the name, its bytes escaped.
    """
    if not is_unicode(name or str(folder)):
        which = f"{printable(str(folder))} holds the name {os.fsencode(name)!r}, which" if name else ""
        raise InputError(
            f"{which or printable(str(folder))} is not UTF-8: rename it, or all of a folder with "
            "`convmv -r -f latin1 -t utf8 --notest FOLDER`."
        )


def _is(entry: "os.DirEntry[str]", kind: object) -> bool:
    """Ask an entry for its kind.

    Raises:
        InputError: It is a link that leads nowhere.
    """
    try:
        holds = bool(kind())  # type: ignore[operator]
        if not holds and entry.is_symlink():
            os.stat(entry.path)
    except OSError:
        path, target = printable(entry.path), printable(os.readlink(entry.path)) if entry.is_symlink() else ""
        raise InputError(f"{path} is a link to {target}, which is not there: remove or correct it.") from None
    return holds
