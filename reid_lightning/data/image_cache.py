"""Every image decoded and resized once, in one file for all workers, ranks and jobs."""

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from reid_lightning.data.cache_file import CachedImages, DamagedCache, checksum, write_footer
from reid_lightning.data.decoding import AREA, decode_image, half_decoded, irregular
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, cache_dir, file_lock

_GIGABYTE = 10**9
_ROWS_PER_TASK = 64

logger = logging.getLogger("reid_lightning")


class DecodedImages:
    """Images that are decoded each time they are asked for.

    Args:
        paths: Image files.
        image_size: Height and width in pixels.
        damaged: Rows without an image, with the reason.
        interpolation: How they are resized, see `decode_image`.

    Attributes:
        checksums: None; what the images hold is not known.
    """

    checksums = None

    def __init__(
        self,
        paths: Sequence[str],
        image_size: tuple[int, int],
        damaged: Mapping[int, str] | None = None,
        interpolation: str = AREA,
    ):
        self._paths = np.array([os.fsencode(path) for path in paths])  # one block, which workers share
        self._image_size = image_size
        self._interpolation = interpolation
        self.damaged = dict(damaged or {})

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> np.ndarray:
        return decode_image(os.fsdecode(self._paths[row]), self._image_size, self._interpolation)

    def select(self, rows: np.ndarray) -> "DecodedImages":
        """Return some of the images; row i of the result is row `rows[i]` of this one."""
        paths = [os.fsdecode(path) for path in self._paths[rows]]
        return DecodedImages(paths, self._image_size, interpolation=self._interpolation)


def open_images(
    paths: Sequence[str],
    image_size: tuple[int, int],
    limit: float = 20.0,
    folder: Path | None = None,
    skip_damaged: bool = False,
    interpolation: str = AREA,
) -> CachedImages | DecodedImages:
    """Return the decoded images, building the cache file if nobody has done so yet.

    The file is keyed by path, size and modification time of every image, by `image_size` and by `interpolation`. Of several
    processes one builds it and the others wait; a build that was killed leaves nothing that counts. A file that is not as
    it was written is built again. Where none can be written, images are decoded on the fly.

    Args:
        paths: Image files; row i of the result is path i.
        image_size: Height and width in pixels.
        limit: Gigabytes that all cache files together may take. Files of earlier runs that nobody has open
            are evicted, the longest unused first. What does not fit is decoded on the fly.
        folder: Where the cache files lie; by default `images` in `files.cache_dir()`.
        skip_damaged: Whether rows of missing and damaged images are listed in `damaged` of the result.
        interpolation: How they are resized, see `decode_image`.

    Raises:
        InputError: An image is missing or cannot be decoded, and `skip_damaged` is not set.
    """
    folder = cache_dir() / "images" if folder is None else folder
    facts, missing = _look_up(paths)
    if not skip_damaged:
        refuse_damaged(missing, len(paths))
    target = folder / f"{_key(paths, image_size, facts, interpolation)}.npy"
    opened = _open(target, paths, image_size, interpolation)
    if opened is None:
        try:
            with file_lock(_lock_of(target)):
                opened = _open(target, paths, image_size, interpolation, repair=True)
                if opened is None and _make_room(
                    folder, len(paths) * image_size[0] * image_size[1] * 3, limit
                ):
                    with atomic_path(target) as temporary:
                        _decode_all(paths, image_size, temporary, missing, skip_damaged, interpolation)
                    opened = _open(target, paths, image_size, interpolation)
        except (InputError, OSError) as error:
            if isinstance(error, InputError) and not isinstance(error.__cause__, OSError):
                raise  # about an image, not about the folder of the cache
            why = error if isinstance(error, InputError) else f"{target} cannot be written: {error.strerror}."
            logger.warning("%s Until then images are decoded on the fly, which is slower.", why)
    if opened is not None and not skip_damaged:
        refuse_damaged(opened.damaged, len(paths))
    return DecodedImages(paths, image_size, missing, interpolation) if opened is None else opened


def missing_images(paths: Sequence[str]) -> dict[int, str]:
    """Return the rows whose file is missing or no regular file, with the reason in a sentence."""
    return _look_up(paths)[1]


def refuse_damaged(damaged: Mapping[int, str], total: int) -> None:
    """Refuse damaged images, if there are any.

    Raises:
        InputError: Says what is wrong with the first, and how many more there are.
    """
    if damaged:
        first = damaged[min(damaged)]
        if len(damaged) > 1:
            first = (
                f"{first.rstrip('.')} ({len(damaged) - 1} more of {total:,} images are missing or damaged; "
                "data.damaged=skip leaves them out)."
            )
        raise InputError(first)


def find_damaged(images: CachedImages | DecodedImages, paths: Sequence[str]) -> dict[int, str]:
    """Return the rows of missing and damaged images, with the reason in a sentence; without a cache all are decoded.

    Args:
        images: As `open_images` returns them for `paths`.
        paths: Image files.
    """
    if isinstance(images, CachedImages):
        return images.damaged

    def decode(row: int) -> tuple[np.ndarray | None, str]:
        try:
            return images[row][-1, -1].copy(), ""
        except InputError as error:
            return None, str(error)

    rows = [row for row in range(len(paths)) if row not in images.damaged]
    with ThreadPoolExecutor(_threads()) as pool:
        found = dict(zip(rows, pool.map(decode, rows), strict=True))
    damaged = images.damaged | {row: reason for row, (_, reason) in found.items() if reason}
    corners = np.zeros((len(paths), 3), np.uint8)
    for row, (corner, _) in found.items():
        if corner is not None:
            corners[row] = corner
    return damaged | half_decoded(paths, corners)


def cache_key(paths: Sequence[str], image_size: tuple[int, int], interpolation: str = AREA) -> str:
    """Return a hash of the files' paths, sizes and modification times, of the image size and of the interpolation.

    Raises:
        InputError: A file is missing.
    """
    facts, missing = _look_up(paths)
    refuse_damaged(missing, len(paths))
    return _key(paths, image_size, facts, interpolation)


def _key(paths: Sequence[str], image_size: tuple[int, int], facts: np.ndarray, interpolation: str) -> str:
    absolute = [os.path.abspath(path) for path in paths]
    resized = "" if interpolation == AREA else f" {interpolation}"  # files of earlier versions stay valid
    digest = hashlib.blake2b(f"{image_size[0]}x{image_size[1]} v2{resized}\n".encode(), digest_size=16)
    digest.update("\n".join(absolute).encode(errors="surrogateescape"))
    digest.update(facts.tobytes())
    return digest.hexdigest()


def sizes_and_times(paths: Sequence[str], missing_too: bool = False) -> np.ndarray:
    """Return size in bytes and modification time in nanoseconds, (N, 2) int64; -1 for missing files.

    Raises:
        InputError: A file is missing or no regular file, and `missing_too` is not set.
    """
    facts, missing = _look_up(paths)
    if not missing_too:
        refuse_damaged(missing, len(paths))
    return facts


def _look_up(paths: Sequence[str]) -> tuple[np.ndarray, dict[int, str]]:
    facts, missing = np.full((len(paths), 2), -1, np.int64), {}
    for row, path in enumerate(paths):
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            missing[row] = f"{path} cannot be read: {getattr(error, 'strerror', None) or error}."
            continue
        if reason := irregular(status):
            missing[row] = f"{path} is {reason}: replace it or remove it."
        else:
            facts[row] = status.st_size, status.st_mtime_ns
    return facts, missing


def _open(
    target: Path, paths: Sequence[str], image_size: tuple[int, int], interpolation: str, repair: bool = False
) -> CachedImages | None:
    """Return a whole cache file opened, or None; remove one that is not whole where `repair` is set."""
    try:
        images = CachedImages(target, paths, image_size, interpolation=interpolation)
    except OSError:  # not there, or not to be read
        return None
    except DamagedCache as error:
        if repair:
            logger.warning(
                "The image cache file %s is damaged (%s): the images are decoded again.", target, error
            )
            target.unlink(missing_ok=True)
        return None
    with suppress(OSError):
        os.utime(target)  # the time of last use, which eviction goes by
    return images


def _decode_all(
    paths: Sequence[str],
    image_size: tuple[int, int],
    path: Path,
    missing: Mapping[int, str],
    skip_damaged: bool,
    interpolation: str,
) -> None:
    shape = (len(paths), *image_size, 3)
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is an error now, not a crash while writing
        with path.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, path.stat().st_size)
    checksums, damaged = np.zeros(len(paths), np.uint64), dict(missing)

    def fill(start: int) -> int:
        stop = min(start + _ROWS_PER_TASK, len(paths))
        for row in range(start, stop):
            if row not in missing:
                try:
                    image = decode_image(paths[row], image_size, interpolation)
                except InputError as error:
                    damaged[row] = str(error)
                else:
                    images[row], checksums[row] = image, checksum(image)
        return stop - start

    console, columns = Console(), (*Progress.get_default_columns(), MofNCompleteColumn())
    logger.info("Decoding %d images to %dx%d into %s.", len(paths), *image_size, path.parent)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar as progress, ThreadPoolExecutor(_threads()) as pool:
        task = progress.add_task(f"Decoding images to {image_size[0]}x{image_size[1]}", total=len(paths))
        for count in pool.map(fill, range(0, len(paths), _ROWS_PER_TASK)):
            progress.advance(task, count)
    damaged |= half_decoded(paths, images[:, -1, -1])
    if not skip_damaged:
        refuse_damaged(damaged, len(paths))
    images.flush()
    write_footer(path, checksums, damaged)


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
