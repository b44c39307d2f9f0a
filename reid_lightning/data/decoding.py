"""One image file to pixels: only regular files, only whole images, only of a size that memory can hold."""

import io
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import cv2
import numpy as np

from reid_lightning.data.resampling import NAMES as RESAMPLING
from reid_lightning.data.resampling import resize
from reid_lightning.errors import InputError

# Images are small: the parallelism comes from threads and workers above OpenCV, whose own threads do not
# survive the fork of a worker.
cv2.setNumThreads(0)

#: Pixels of the largest image that is decoded, read from its header: 300 MB as 8-bit color.
MAX_PIXELS = 100_000_000
#: Bytes of the largest file that is read.
MAX_BYTES = 1_000_000_000

_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xae\x42\x60\x82"
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # JPEG markers that state the size
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # JPEG markers without a length
_BLANK = bytes(32)  # compressed data has no such run, unless large areas are of one color
_GREY = 128  # what libjpeg paints where the data are missing

#: Today's own rule, for networks that are trained from scratch.
AREA = "area"
#: How an image is resized: by that rule, or by a filter of Pillow, as the packages of pretrained networks do.
FILTERS = (AREA, *RESAMPLING)

_WARNINGS_OF_LIBJPEG = """
import sys, cv2, numpy
for number, path in enumerate(sys.stdin.read().split("\\0")):
    print(f"\\n#{number}", file=sys.stderr, flush=True)
    cv2.imdecode(numpy.fromfile(path, numpy.uint8), cv2.IMREAD_COLOR)
"""


def decode_image(path: str, image_size: tuple[int, int], interpolation: str = AREA) -> np.ndarray:
    """Return an image file as uint8 (H, W, 3), red first, resized to `image_size` (height, width) pixels.

    `interpolation` is one of `FILTERS`: with `area`, shrinking averages the pixels of an area and enlarging is
    bilinear; the others are Pillow's, which look at all pixels of an area as well (antialiasing).

    Raises:
        InputError: As of `decode_pixels`.
    """
    return resized(decode_pixels(path), image_size, interpolation)


def decode_pixels(path: str) -> np.ndarray:
    """Return an image file as uint8 (H, W, 3), red first, of its own size.

    The orientation of EXIF is applied, 16 bits become 8, transparency is dropped, and of an animation the first picture
    counts.

    Raises:
        InputError: The file is missing or not a regular file; it is not a whole image; or the image has more than
            `MAX_PIXELS` pixels.
    """
    return decoded(read_regular(path), path, path)


def decoded(data: bytes, name: str, path: str | None = None) -> np.ndarray:
    """Return an encoded image as uint8 (H, W, 3), red first, as `decode_image` reads one, in its own size.

    Args:
        data: All bytes of the file.
        name: What messages call the image.
        path: A file that holds the same bytes, where there is one.

    Raises:
        InputError: It is not a whole image, or has more than `MAX_PIXELS` pixels.
    """
    if data.startswith(_JPEG):
        _check_jpeg(data, name, path)
    elif data.startswith(_PNG):
        _check_size(int.from_bytes(data[16:20]), int.from_bytes(data[20:24]), name)
        if not data.endswith(_PNG_END):
            _check_by_pillow(data, name)
    else:
        _check_by_pillow(data, name)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except (cv2.error, MemoryError):
        image = None
    if image is None:
        raise InputError(f"{name} cannot be decoded as an image: replace it or remove it.")
    return np.asarray(image)


def resized(image: np.ndarray, image_size: tuple[int, int], interpolation: str = AREA) -> np.ndarray:
    """Return a decoded image as `decode_image` resizes it, (H, W, 3) uint8 to `image_size` (height, width) pixels."""
    height, width = image_size
    if interpolation != AREA:
        return _as_pillow(image, image_size, interpolation)
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _as_pillow(image: np.ndarray, image_size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Resize as Pillow does, by itself where it is installed, which is five times as fast."""
    height, width = image_size
    try:
        from PIL import Image
    except ImportError:
        return resize(image, image_size, interpolation)
    found = Image.fromarray(image).resize((width, height), Image.Resampling[interpolation.upper()])
    return np.array(found)  # a copy that may be written to


def read_regular(path: str, may_be_empty: bool = False) -> bytes:
    """Return the bytes of a regular file; nothing else is waited for, such as a pipe that nobody writes to.

    Args:
        path: The file.
        may_be_empty: Whether a file of 0 bytes is as good as any: a list may be, an image may not.

    Raises:
        InputError: The file is missing, not a regular file, too large, or cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(handle)
            empty = stat.S_ISREG(status.st_mode) and status.st_size == 0
            if (reason := irregular(status)) and not (empty and may_be_empty):
                raise InputError(f"{path} is {reason}: replace it or remove it.")
            parts = []
            while part := os.read(handle, status.st_size + 1):  # one call, unless the file grows or is huge
                parts.append(part)
        finally:
            os.close(handle)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else "the name holds a NUL"
        raise InputError(f"{path} cannot be read: {reason}.") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def irregular(status: os.stat_result) -> str | None:
    """Return what a file is that no image can be, in words; None for a regular file of a sensible size."""
    if stat.S_ISDIR(status.st_mode):
        return "a folder and not a file"
    if not stat.S_ISREG(status.st_mode):
        return "a pipe, socket or device and not a file"
    if status.st_size > MAX_BYTES:
        return f"a file of {status.st_size / 1e9:.1f} GB, which is too large for an image"
    return "an empty file" if status.st_size == 0 else None


def half_decoded(paths: Sequence[str], corners: np.ndarray) -> dict[int, str]:
    """Return which of some JPEG files lack a part although they end properly, with the reason.

    libjpeg paints what is missing gray. Only images with a last pixel of just that gray are examined.

    Args:
        paths: Image files that have been decoded.
        corners: The last pixel of each, (N, 3).
    """
    rows = np.flatnonzero((corners == _GREY).all(axis=1)).tolist()
    rows = [row for row in rows if read_regular(paths[row]).startswith(_JPEG)]
    said = _warnings_of_libjpeg([paths[row] for row in rows])
    return {
        row: f"{paths[row]} is corrupt or ends too early ({reason}): replace it or remove it."
        for row, reason in zip(rows, said, strict=True)
        if "remature" in reason
    }


def _check_size(width: int, height: int, path: str) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{path} has {width} x {height} pixels, and an image may have {MAX_PIXELS // 10**6} million: make it smaller "
            "or remove it."
        )


def _check_jpeg(data: bytes, name: str, path: str | None) -> None:
    """Refuse what libjpeg completes with gray and a word on standard error: a missing end, or a part of zeros."""
    scan = _first_scan(data, name)
    end = data.endswith(_JPEG_END) or data.find(_JPEG_END, scan) >= 0
    if not end:
        raise InputError(
            f"{name} is corrupt or ends too early (no end of the JPEG data): replace it or remove it."
        )
    if _BLANK in data and 0 <= data.find(_BLANK, scan) < data.find(_JPEG_END, scan):
        reason = _warning_of_libjpeg(data, path)
        if reason:
            raise InputError(
                f"{name} is corrupt or ends too early ({reason}; a part of the file holds only zeros): replace it or "
                "remove it."
            )


def _warning_of_libjpeg(data: bytes, path: str | None) -> str:
    """Return what libjpeg says about bytes, which lie in a file, or are written to one that is removed again."""
    if path is not None:
        return _warnings_of_libjpeg([path])[0]
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return _warnings_of_libjpeg([file.name])[0]


def _first_scan(data: bytes, path: str) -> int:
    """Return where the first scan of a JPEG begins, 0 where none is found; refuse too many pixels."""
    position, length = 2, len(data) - 9
    while position < length and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xDA:
            return position
        if marker in _FRAMES:
            _check_size(
                int.from_bytes(data[position + 7 : position + 9]),
                int.from_bytes(data[position + 5 : position + 7]),
                path,
            )
        if marker == 0xFF:  # filling
            position += 1
        else:
            position += 2 if marker in _BARE else 2 + int.from_bytes(data[position + 2 : position + 4])
    return 0


def _check_by_pillow(data: bytes, path: str) -> None:
    """Refuse what Pillow cannot decode to the end; OpenCV says nothing of a missing rest in many formats."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise InputError(
            f"{path} is neither a JPEG nor a PNG image, and others need Pillow: pip install pillow"
        ) from None
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_size(*image.size, path)
            image.load()
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(
            f"{path} has more than {MAX_PIXELS // 10**6} million pixels: make it smaller or remove it."
        ) from None
    except Exception as error:  # Pillow raises whatever the broken bytes lead to
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "no known kind of image" if unknown else " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"{path} is corrupt or ends too early ({reason}): replace it or remove it."
        ) from None


def _warnings_of_libjpeg(paths: Sequence[str]) -> list[str]:
    """Return what libjpeg says about each file, "" for nothing.

    It says so on standard error alone; so the files are decoded once more in a process of their own.
    """
    if not paths:
        return []
    ended = subprocess.run(
        [sys.executable, "-c", _WARNINGS_OF_LIBJPEG],
        input="\0".join(map(os.path.abspath, paths)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENCV_LOG_LEVEL": "SILENT"},
    )
    said = ended.stderr.split("\n#")[1:]
    found = [" ".join(text.partition("\n")[2].split()) for text in said]
    return [*found, *[""] * (len(paths) - len(found))]
