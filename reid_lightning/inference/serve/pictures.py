"""Pictures of enrolled people: kept beside the gallery under names of their content, and gone with its rows."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from reid_lightning.data.decoding import decode_pixels
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, file_lock, remove_leftovers
from reid_lightning.inference.serve.uploads import Pixels

FOLDER = "pictures"  # in the gallery's
LONGEST = 256  # pixels of an image that is shown
_NAME = re.compile(r"[0-9a-f]{64}\.png")
_QUALITY = 85


class Kept(NamedTuple):
    """A picture as it is kept."""

    name: str
    """Of its file: the SHA-256 of its size and pixels."""
    png: bytes

    @classmethod
    def of(cls, pixels: Pixels) -> "Kept":
        """Encode a picture, (H, W, 3) uint8, red first."""
        shape = np.asarray(pixels.shape, "<i8").tobytes()
        digest = hashlib.sha256(shape + np.ascontiguousarray(pixels).tobytes())
        png = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1]
        return cls(f"{digest.hexdigest()}.png", bytes(png))


class Pictures:
    """The folder of pictures that a server has taken in.

    Pictures are PNG files: without loss, so that the gallery can be embedded again, and without what a camera writes into a
    file, such as the place. A picture has the name of its content; enrolling it twice keeps it once.

    Args:
        gallery: The gallery's folder; None: it has none, and no pictures are kept.
    """

    def __init__(self, gallery: Path | None) -> None:
        self._folder = None if gallery is None else gallery.absolute() / FOLDER

    @property
    def folder(self) -> Path:
        """Where pictures lie.

        Raises:
            InputError: The gallery has no folder.
        """
        if self._folder is None:
            raise InputError("The gallery has no folder for pictures: serve it with --no-keep-pictures.")
        return self._folder

    @property
    def is_there(self) -> bool:
        """Whether any picture may lie there."""
        return self._folder is not None and self._folder.is_dir()

    def path(self, name: str) -> Path:
        """Return where a picture lies or would lie."""
        return self.folder / name

    def write(self, picture: "Kept") -> None:
        """Write a picture atomically; one that is there stays.

        Raises:
            InputError: The disk is full, or the folder cannot be written to.
        """
        if not (path := self.path(picture.name)).exists():
            with atomic_path(path) as temporary:
                temporary.write_bytes(picture.png)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the folder: no other server on this gallery takes pictures in or sweeps meanwhile."""
        with file_lock(self.folder / ".lock"):
            yield

    def sweep(self, named: Iterable[str | None]) -> int:
        """Remove pictures that no row of the gallery names, inside `changing`.

        Args:
            named: Paths of all rows; their last part counts, because a gallery may have been moved.

        Returns:
            How many were removed.
        """
        if not self.is_there:
            return 0
        remove_leftovers(self.folder / "*")
        keep = {path.rpartition("/")[2] for path in named if path}
        gone = [
            entry for entry in self.folder.iterdir() if _NAME.fullmatch(entry.name) and entry.name not in keep
        ]
        for entry in gone:
            entry.unlink(missing_ok=True)
        return len(gone)

    def thumbnail(self, path: str) -> bytes | None:
        """Return an image of the gallery, small and encoded again; None where it cannot be read.

        Args:
            path: As a row of the gallery names it.
        """
        name = path.rpartition("/")[2]
        own = None if self._folder is None else self._folder / name
        kept = own is not None and _NAME.fullmatch(name) and own.is_file()
        try:
            pixels = decode_pixels(str(own if kept else path))
        except InputError:
            return None
        scale = LONGEST / max(pixels.shape[:2])
        if scale < 1:
            height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
            pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        bgr = np.ascontiguousarray(pixels[..., ::-1])
        return bytes(cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))[1])
