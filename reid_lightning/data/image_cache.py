"""Every image decoded and resized once, in one memory-mapped file for all workers, ranks and jobs."""

import hashlib
import io
import logging
import os
import shutil
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, cache_dir, file_lock

# Images are small: the parallelism comes from threads and workers above OpenCV, whose own threads do not
# survive the fork of a worker.
cv2.setNumThreads(0)

_GIGABYTE = 10**9
_ROWS_PER_TASK = 64
_END_OF_FILE = (b"\xff\xd9", b"IEND\xae\x42\x60\x82")  # JPEG, PNG

logger = logging.getLogger(__name__)


class DecodedImages:
    """Images that are decoded each time they are asked for.

    Args:
        paths: Image files.
        image_size: Height and width in pixels.
    """

    def __init__(self, paths: Sequence[str], image_size: tuple[int, int]):
        self._paths = np.array([os.fsencode(path) for path in paths])  # one block, which workers share
        self._image_size = image_size

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> np.ndarray:
        return decode_image(os.fsdecode(self._paths[row]), self._image_size)


class CachedImages:
    """Images out of a cache file; nobody evicts the file while this object lives.

    Args:
        path: A `.npy` file of uint8 (N, H, W, 3), red first.
    """

    def __init__(self, path: Path):
        import fcntl

        self.path = path
        handle = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, handle)
        fcntl.flock(handle, fcntl.LOCK_SH)
        self._images = np.load(path, mmap_mode="r")

    def __reduce__(self) -> tuple[Any, ...]:
        return CachedImages, (self.path,)  # a mapping would be pickled with all its pixels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> np.ndarray:
        return self._images[row]


def decode_image(path: str, image_size: tuple[int, int]) -> np.ndarray:
    """Return an image file as uint8 (H, W, 3), red first, resized to `image_size` (height, width) pixels.

    Shrinking averages the pixels of an area, enlarging is bilinear.

    Raises:
        InputError: The file is missing, corrupt or ends too early.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if not data.endswith(_END_OF_FILE):  # OpenCV paints the missing rest grey and says nothing
        _refuse_truncated(data, path)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if image is None:
        raise InputError(f"{path} cannot be decoded as an image: replace it or remove it.")
    height, width = image_size
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _refuse_truncated(data: bytes, path: str) -> None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except Exception as error:  # Pillow raises whatever the broken bytes lead to
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "no known kind of image" if unknown else str(error).rstrip(".")
        raise InputError(
            f"{path} is corrupt or ends too early ({reason}): replace it or remove it."
        ) from None


def open_images(
    paths: Sequence[str], image_size: tuple[int, int], limit: float = 20.0, folder: Path | None = None
) -> CachedImages | DecodedImages:
    """Return the decoded images, building the cache file if nobody has done so yet.

    The file is keyed by path, size and modification time of every image and by `image_size`. Of several
    processes one builds it and the others wait; a build that was killed leaves nothing that counts.

    Args:
        paths: Image files; row i of the result is path i.
        image_size: Height and width in pixels.
        limit: Gigabytes that all cache files together may take. Files of earlier runs that nobody has open
            are evicted, the longest unused first. What does not fit is decoded on the fly.
        folder: Where the cache files lie; by default `images` in `files.cache_dir()`.

    Raises:
        InputError: An image is missing or cannot be decoded.
    """
    folder = cache_dir() / "images" if folder is None else folder
    key = cache_key(paths, image_size)
    target = folder / f"{key}.npy"
    with file_lock(_lock_of(target)):
        if not target.exists():
            _remove_leftovers(target)
            needed = len(paths) * image_size[0] * image_size[1] * 3
            if not _make_room(folder, needed, limit):
                return DecodedImages(paths, image_size)
            with atomic_path(target) as temporary:
                _decode_all(paths, image_size, temporary)
        os.utime(target)  # the time of last use, which eviction goes by
        return CachedImages(target)


def cache_key(paths: Sequence[str], image_size: tuple[int, int]) -> str:
    """Return a hash of the files' paths, sizes and modification times, and of the image size.

    Raises:
        InputError: A file is missing.
    """
    absolute = [os.path.abspath(path) for path in paths]
    facts = np.fromiter(sizes_and_times(absolute), np.int64, 2 * len(absolute))
    digest = hashlib.blake2b(f"{image_size[0]}x{image_size[1]} v1\n".encode(), digest_size=16)
    digest.update("\n".join(absolute).encode(errors="surrogateescape"))
    digest.update(facts.tobytes())
    return digest.hexdigest()


def sizes_and_times(paths: Sequence[str]) -> Iterator[int]:
    """Yield size in bytes and modification time in nanoseconds, file after file."""
    for path in paths:
        try:
            status = os.stat(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from None
        yield status.st_size
        yield status.st_mtime_ns


def _decode_all(paths: Sequence[str], image_size: tuple[int, int], path: Path) -> None:
    shape = (len(paths), *image_size, 3)
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is an error now, not a crash while writing
        with path.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, path.stat().st_size)

    def fill(start: int) -> int:
        stop = min(start + _ROWS_PER_TASK, len(paths))
        for row in range(start, stop):
            images[row] = decode_image(paths[row], image_size)
        return stop - start

    console, columns = Console(), (*Progress.get_default_columns(), MofNCompleteColumn())
    logger.info("Decoding %d images to %dx%d into %s.", len(paths), *image_size, path.parent)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar as progress, ThreadPoolExecutor(threads) as pool:
        task = progress.add_task(f"Decoding images to {image_size[0]}x{image_size[1]}", total=len(paths))
        for count in pool.map(fill, range(0, len(paths), _ROWS_PER_TASK)):
            progress.advance(task, count)
    images.flush()


def _make_room(folder: Path, needed: int, limit: float) -> bool:
    """Evict unused cache files, the longest unused first, until `needed` more bytes fit, or say so."""
    for leftover in folder.glob(".*.part.npy"):
        with _try_lock(_lock_of(folder / leftover.name[1:].split(".")[0])) as free:
            if free:
                leftover.unlink(missing_ok=True)
    if needed <= limit * _GIGABYTE:
        for oldest in sorted(folder.glob("[!.]*.npy"), key=lambda path: path.stat().st_mtime):
            if _fits(folder, needed, limit):
                return True
            with _try_lock(_lock_of(oldest)) as unclaimed, _try_lock(oldest) as unused:
                if unclaimed and unused:
                    logger.info("Evicting %s, the longest unused file of the image cache.", oldest)
                    oldest.unlink()
        if _fits(folder, needed, limit):
            return True
    logger.warning(
        "%.1f GB of decoded images do not fit into the cache %s (limit %.1f GB, free on the disk %.1f GB): "
        "images are decoded on the fly, which is slower. Raise data.cache_limit or free some space.",
        needed / _GIGABYTE,
        folder,
        limit,
        shutil.disk_usage(folder).free / _GIGABYTE,
    )
    return False


def _fits(folder: Path, needed: int, limit: float) -> bool:
    taken = sum(path.stat().st_size for path in folder.glob("*.npy"))  # also what is being built
    return needed + taken <= limit * _GIGABYTE and needed < shutil.disk_usage(folder).free


def _remove_leftovers(target: Path) -> None:
    for leftover in target.parent.glob(f".{target.name}.*.part.npy"):
        leftover.unlink(missing_ok=True)


def _lock_of(target: Path) -> Path:
    return target.with_name(f"{target.name.removesuffix('.npy')}.lock")


@contextmanager
def _try_lock(path: Path) -> Iterator[bool]:
    """Yield whether the lock on a file was free; it is then held until the end."""
    import fcntl

    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
