"""Images as pictures show them: upright, in color, small, and a gray tile for what cannot be read any more."""

import io
import logging
import re
import stat
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, require_output

log = logging.getLogger("reid_lightning")

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
LONGEST = 512  # pixels
MOST_PIXELS = 200_000_000
_SMALL = 200_000  # bytes: a JPEG file of fewer cannot have so many pixels
_LARGE = 1 << 24  # bytes of a file that is decoded at an eighth of its size where its format can
_TILE = 200  # gray

Picture = NDArray[np.uint8]


def read_picture(path: str | Path, longest: int = LONGEST) -> Picture:
    """Return an image as the model sees it: turned as its EXIF data says, 8 bits a channel, without transparency.

    Args:
        path: The image file.
        longest: Pixels that it is at most wide and high; a smaller image stays as it is.

    Returns:
        (H, W, 3) uint8, red first.

    Raises:
        InputError: It cannot be read.
    """
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            raise InputError(f"{path} cannot be read as an image: it is not a file.")
        large = status.st_size > _LARGE
        content = path.read_bytes()
        if _pixels(content) > MOST_PIXELS:
            raise InputError(
                f"{path} cannot be shown: it has more than {MOST_PIXELS // 10**6} million pixels."
            )
        data = np.frombuffer(content, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_REDUCED_COLOR_8 if large else cv2.IMREAD_COLOR)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (cv2.error, MemoryError):  # empty, or larger than OpenCV decodes
        image = None
    if image is None:
        raise InputError(f"{path} cannot be read as an image.")
    scale = longest / max(image.shape[:2])
    if scale < 1:
        height, width = (max(1, round(scale * side)) for side in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[..., ::-1])


def _pixels(content: bytes) -> int:
    """Return how many pixels an image has by its header: a small file may claim more than memory holds; 0 if unknown."""
    if content.startswith(b"\x89PNG"):
        return int.from_bytes(content[16:20]) * int.from_bytes(content[20:24])
    if content.startswith(b"\xff\xd8") and len(content) < _SMALL:
        return 0
    try:
        with Image.open(io.BytesIO(content)) as opened:
            return opened.width * opened.height
    except (
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:  # fewer pixels are too many for Pillow
        stated = re.search(r"\((\d+) pixels\)", str(error))
        return int(stated[1]) if stated else MOST_PIXELS + 1
    except Exception:  # a damaged header raises anything; OpenCV decides
        return 0


def read_pictures(paths: Iterable[str | Path], longest: int = LONGEST) -> dict[str, Picture]:
    """Return images by their path; one that cannot be read any more is a gray tile, of which one warning tells.

    What a run has computed must not be lost because a picture of it cannot be drawn.
    """
    pictures, unreadable = {}, []
    for path in dict.fromkeys(map(str, paths)):
        try:
            pictures[path] = read_picture(path, longest)
        except InputError as error:
            unreadable.append(error)
            pictures[path] = np.full((64, 32, 3), _TILE, np.uint8)
    if unreadable:
        log.warning(
            "Unreadable images drawn as gray tiles: %d; the first: %s", len(unreadable), unreadable[0]
        )
    return pictures


def require_picture(path: str | Path) -> None:
    """Refuse a picture that cannot be written, before any work; its folder is made.

    Raises:
        InputError: The ending is not that of an image of pixels, or the file cannot be written.
    """
    if Path(path).suffix.lower() not in ENDINGS:
        raise InputError(
            f"{path}: the file extension is not an image format; use one of {', '.join(ENDINGS)}."
        )
    require_output(path)


def write_picture(picture: Picture, path: str | Path, *settings: int) -> None:
    """Write (H, W, 3) uint8 pixels, red first, atomically; `settings` are those of `cv2.imencode`.

    Raises:
        InputError: The ending is not that of an image, or the file cannot be written.
    """
    require_picture(path)
    data = cv2.imencode(Path(path).suffix, np.ascontiguousarray(picture[..., ::-1]), settings)[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
