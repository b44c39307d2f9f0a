"""The images and test sets inside CUHK03's release file, a MATLAB file of version 7.3 (HDF5).

`detected` and `labeled` are cells of 5 pairs of cameras; each is a cell of people x 10 images, 1 to 5 from the pair's
first view and 6 to 10 from its second, empty where a person has fewer. `testsets` is a cell of 20 tables of 100 rows
(pair, person), from 1.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, cache_dir, file_lock

RELEASE = "cuhk-03.mat"
IMAGES_PER_VIEW = 5


def extract_images(release: Path, boxes: str) -> Path:
    """Write the images as PNG into a folder of the cache, once.

    Args:
        release: The file.
        boxes: "detected" or "labeled".

    Returns:
        The folder, its files named `1_001_1_01.png`: pair of cameras, person, view, image.

    Raises:
        InputError: The file cannot be read.
    """
    status = release.stat()
    facts = f"{release.absolute()}|{status.st_size}|{status.st_mtime_ns}"
    folder = cache_dir() / f"cuhk03-{boxes}-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"
    with file_lock(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            with atomic_path(folder) as temporary, _open(release) as content:
                temporary.mkdir(parents=True)
                for name, image in _images(content, boxes, release):
                    cv2.imwrite(str(temporary / name), image[..., ::-1])
    return folder


def read_test_sets(release: Path) -> list[list[tuple[int, int]]]:
    """Return the people of each test as (pair of cameras, person), both from 1.

    Raises:
        InputError: The file cannot be read.
    """
    with _open(release) as content:
        tables = [np.asarray(content[cell]).astype(int).T for cell in _cells(content, "testsets", release)]
    return [[(int(pair), int(person)) for pair, person in table] for table in tables]


def _open(release: Path) -> Any:
    try:
        import h5py
    except ImportError:
        raise InputError(
            f"{release} needs h5py to be read: install it with `pip install reid-lightning[cuhk03]`."
        ) from None
    try:
        return h5py.File(release, "r")
    except OSError as error:
        raise InputError(f"{release} cannot be read as a MATLAB 7.3 file: {error}.") from None


def _cells(content: Any, name: str, release: Path) -> Any:
    if name not in content:
        raise InputError(f"{release} lacks the variable {name}: unpack the data set again.")
    return np.asarray(content[name]).ravel()


def _images(content: Any, boxes: str, release: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and pixels (H, W, 3), RGB, of every image; HDF5 holds MATLAB's arrays transposed."""
    for pair, cell in enumerate(_cells(content, boxes, release), start=1):
        for person, row in enumerate(np.asarray(content[cell]).T, start=1):
            for number, image in enumerate(row, start=1):
                pixels = np.asarray(content[image])
                if pixels.ndim == 3:  # an empty cell holds its two dimensions instead
                    view = 1 if number <= IMAGES_PER_VIEW else 2
                    yield f"{pair}_{person:03d}_{view}_{number:02d}.png", pixels.T
