"""Uploaded bytes to pixels: known formats alone, and no more pixels than the server allows, by the header."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from reid_lightning.data.decoding import decoded
from reid_lightning.errors import InputError
from reid_lightning.inference.serve.problems import Problem

Pixels = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp")
MOST_SCANS = 200  # of a progressive JPEG; each takes as long as a whole picture, and cameras write about ten
_SCAN = b"\xff\xda"


def pixels_of(data: bytes, most_pixels: int, name: str = "The picture") -> Pixels:
    """Return an uploaded picture as uint8 (H, W, 3), red first, in its own size, turned as its EXIF data say.

    Nothing is decoded before the header has told the size. The name and the type that the client states are not looked at.

    Args:
        data: The bytes of the file.
        most_pixels: That it may have.
        name: What messages call it.

    Raises:
        Problem: It is empty, not a picture of `FORMATS`, damaged, or too large.
    """
    if not data:
        raise Problem(422, f"{name} is an empty file: choose another one.")
    width, height = _size_of(data, name)
    if width * height > most_pixels:
        raise Problem(
            413,
            f"{name} has {width} x {height} pixels, and this server takes {most_pixels / 1e6:g} million: make it smaller.",
        )
    if data.count(_SCAN) > MOST_SCANS and data.startswith(b"\xff\xd8"):
        raise Problem(422, f"{name} is a JPEG of more than {MOST_SCANS} scans: save it again.")
    try:
        return np.asarray(decoded(data, name), np.uint8)
    except InputError as error:
        raise Problem(422, str(error).replace("replace it or remove it", "choose another one")) from error


def _size_of(data: bytes, name: str) -> tuple[int, int]:
    """Return width and height as the header states them."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Problem(413, f"{name} has more pixels than this server takes: make it smaller.") from None
    except UnidentifiedImageError:
        raise Problem(422, f"{name} is not an image file that this server reads: send {_kinds()}.") from None
    except Exception as error:  # Pillow raises whatever the broken bytes lead to
        reason = " ".join(str(error).split()).rstrip(".")
        raise Problem(422, f"{name} is damaged ({reason}): choose another one.") from None


def _kinds() -> str:
    return f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
