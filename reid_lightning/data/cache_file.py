"""A file of decoded images: an `.npy` array, and behind it a checksum of every row and what could not be decoded.

Each row is compared with its checksum when it is read, and rows are read and not mapped: what a disk, another program or a
full file system has done to the file is found before a network sees it.
"""

import io
import json
import logging
import os
import struct
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from reid_lightning.data.decoding import AREA, decode_image

_TAIL = struct.Struct("<QQ8s")  # bytes of the list of damage, checksum of header and footer, mark
_MARK = b"reidimg2"
_HEADER = 128  # bytes that numpy's header takes

logger = logging.getLogger("reid_lightning")


class DamagedCache(Exception):
    """A cache file is not as it was written; the message says how."""


class CachedImages:
    """Images out of a cache file; nobody evicts the file while this object lives.

    A row that is not as it was written is decoded from its image file, and the cache file is removed, so that the next
    run builds it again.

    Args:
        path: The cache file: uint8 (N, H, W, 3), red first.
        paths: The N image files.
        image_size: Height and width in pixels.
        rows: Which rows of the file are the images, in order; None for all.
        interpolation: How they were resized.

    Attributes:
        checksums: 64-bit hash of the pixels of each image, (N,) uint64.
        damaged: Rows without an image, with the reason.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedCache: The file is not whole, or holds something else.
    """

    def __init__(
        self,
        path: Path,
        paths: Sequence[str] | np.ndarray,
        image_size: tuple[int, int],
        rows: np.ndarray | None = None,
        interpolation: str = AREA,
    ):
        import fcntl

        self.path = path
        self._paths = (
            paths if isinstance(paths, np.ndarray) else np.array([os.fsencode(path) for path in paths])
        )
        self._shape = (*image_size, 3)
        self._interpolation = interpolation
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._handle)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(self._handle, fcntl.LOCK_SH)
        checksums, damaged = _read_footer(self._handle, (len(self._paths), *self._shape))
        self._rows, self._checksums = rows, checksums
        self.checksums = checksums if rows is None else checksums[rows]
        self.damaged = damaged if rows is None else {}

    def __reduce__(self) -> tuple[Any, ...]:
        return CachedImages, (self.path, self._paths, self._shape[:2], self._rows, self._interpolation)

    def __len__(self) -> int:
        return len(self.checksums)

    def __getitem__(self, row: int) -> np.ndarray:
        if self._rows is not None:
            row = int(self._rows[row])
        image = np.empty(self._shape, np.uint8)
        read = os.preadv(self._handle, [image.data], _HEADER + row * image.nbytes)
        if read != image.nbytes or checksum(image) != self._checksums[row]:
            return self._decode_instead(row)
        return image

    def select(self, rows: np.ndarray) -> "CachedImages":
        """Return some of the images; row i of the result is row `rows[i]` of this one."""
        rows = rows if self._rows is None else self._rows[rows]
        return CachedImages(self.path, self._paths, self._shape[:2], rows, self._interpolation)

    def _decode_instead(self, row: int) -> np.ndarray:
        path = os.fsdecode(self._paths[row])
        image = decode_image(path, self._shape[:2], self._interpolation)
        with suppress(OSError):
            if os.path.samestat(os.stat(self.path), os.fstat(self._handle)):
                self.path.unlink()
                logger.warning(
                    "The image cache file %s is damaged (%s is not as it was written): such images are decoded again, and "
                    "the next run builds the file again.",
                    self.path,
                    path,
                )
        return image


def checksum(image: np.ndarray) -> int:
    """Return a 64-bit hash of an image's pixels.

    Examples:
        >>> checksum(np.zeros((2, 2, 3), np.uint8)) == checksum(np.zeros((2, 2, 3), np.uint8))
        True
    """
    return int(xxhash.xxh3_64_intdigest(image.data))


def write_footer(path: Path, checksums: np.ndarray, damaged: Mapping[int, str]) -> None:
    """Complete a file of decoded images.

    Args:
        path: An `.npy` file.
        checksums: `checksum` of each row, (N,) uint64.
        damaged: Rows without an image, with the reason.
    """
    listed = json.dumps({str(row): reason for row, reason in damaged.items()}).encode()
    footer = checksums.astype("<u8").tobytes() + listed
    with path.open("r+b") as file:
        header = file.read(_HEADER)
        file.seek(0, os.SEEK_END)
        file.write(footer + _TAIL.pack(len(listed), xxhash.xxh3_64_intdigest(header + footer), _MARK))


def _read_footer(handle: int, shape: tuple[int, ...]) -> tuple[np.ndarray, dict[int, str]]:
    size, pixels = os.fstat(handle).st_size, _HEADER + prod(shape)
    if size == 0:
        raise DamagedCache("it is empty")
    header = os.pread(handle, _HEADER, 0)
    try:
        stream = io.BytesIO(header)
        np.lib.format.read_magic(stream)
        found, _, dtype = np.lib.format.read_array_header_1_0(stream)
    except (ValueError, EOFError):
        raise DamagedCache("it begins otherwise") from None
    if found != shape or dtype != np.uint8 or stream.tell() != _HEADER:
        raise DamagedCache(f"it holds {dtype} {found} instead of uint8 {shape}")
    tail = os.pread(handle, _TAIL.size, max(0, size - _TAIL.size))
    if len(tail) < _TAIL.size or not tail.endswith(_MARK):
        raise DamagedCache("its end is missing")
    length, expected, _ = _TAIL.unpack(tail)
    if size != pixels + 8 * shape[0] + length + _TAIL.size:
        raise DamagedCache(f"it has {size:,} bytes, which is not the size that it was written with")
    footer = os.pread(handle, size - pixels - _TAIL.size, pixels)
    if xxhash.xxh3_64_intdigest(header + footer) != expected:
        raise DamagedCache("its list of checksums is not as it was written")
    checksums = np.frombuffer(footer, "<u8", shape[0])
    return checksums, {int(row): reason for row, reason in json.loads(footer[8 * shape[0] :]).items()}
