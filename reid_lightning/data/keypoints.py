"""Body key points of a table's images, from the files that its column `keypoints` names.

Such a file is an `.npz` of `names` (N,) file names relative to its folder, `points` (N, J, 3) column, row in pixels and 2
in sight, 1 hidden, 0 outside the image, and `joints` (J,) names, `left_knee` beside `right_knee`.
"""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from reid_lightning.errors import InputError
from reid_lightning.files import require_regular

IN_SIGHT, HIDDEN, OUTSIDE = 2, 1, 0


@dataclass(frozen=True, eq=False)
class KeyPoints:
    """Where the joints of some images are.

    Attributes:
        joints: Names, J of them.
        points: (N, J, 3) float32: column and row as fractions of the image's width and height, which no resizing
            changes, and `IN_SIGHT`, `HIDDEN` or `OUTSIDE`.
    """

    joints: tuple[str, ...]
    points: np.ndarray


def has_keypoints(table: pd.DataFrame) -> np.ndarray:
    """Return for each row whether it names a file of key points, (N,) bool."""
    if "keypoints" not in table.columns:
        return np.zeros(len(table), bool)
    return table["keypoints"].notna().to_numpy(bool)


def read_keypoints(table: pd.DataFrame) -> KeyPoints:
    """Return the key points of all rows of a table, which must each name their file.

    Raises:
        InputError: A file cannot be read, lacks an image or has other joints than the others; or an image is missing.
    """
    files = table["keypoints"].astype(str).to_numpy()
    joints: tuple[str, ...] | None = None
    points = np.empty((len(table), 0, 3), np.float32)
    for file in dict.fromkeys(files):
        rows = np.flatnonzero(files == file)
        names, found = _read(Path(file))
        if joints is None:
            joints, points = names, np.empty((len(table), len(names), 3), np.float32)
        elif joints != names:
            raise InputError(
                f"{file} has the joints {', '.join(names[:3])}, ... and {files[0]} others ({', '.join(joints[:3])}, ...): "
                "key points that are learned together need the same joints in the same order."
            )
        points[rows] = _of_images(table["path"].iloc[rows].tolist(), Path(file), found)
    if joints is None:
        raise InputError("There are no images to read key points of.")
    return KeyPoints(joints, points)


def mirrored_joints(joints: Sequence[str]) -> list[int]:
    """Return which joint of an image each joint of its mirror image is.

    Examples:
        >>> mirrored_joints(["nose", "left_knee", "right_knee"])
        [0, 2, 1]

    Raises:
        InputError: A left joint has no right one, or the other way round.
    """
    places = {name: place for place, name in enumerate(joints)}
    swapped = [_other_side(name) for name in joints]
    for name, other in zip(joints, swapped, strict=True):
        if other not in places:
            raise InputError(f"The joint {name} has no {other} beside it: mirrored images need both.")
    return [places[other] for other in swapped]


def _other_side(name: str) -> str:
    side, _, joint = name.partition("_")
    opposite = {"left": "right", "right": "left"}.get(side)
    return f"{opposite}_{joint}" if opposite else name


def _read(file: Path) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Return a file's joints, and the points of each of its images by name."""
    try:
        require_regular(file)
        with np.load(file, allow_pickle=False) as content:
            names, points = content["names"].astype(str), content["points"].astype(np.float32)
            joints = tuple(content["joints"].astype(str).tolist())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{file} cannot be read as key points ({error}): it must be an .npz of names, points and joints."
        ) from None
    if points.shape != (len(names), len(joints), 3) or not joints:
        raise InputError(
            f"{file} has points of shape {points.shape} for {len(names)} images and {len(joints)} joints: it must be "
            "(images, joints, 3)."
        )
    return joints, dict(zip(names.tolist(), points, strict=True))


def _of_images(paths: Sequence[str], file: Path, found: dict[str, np.ndarray]) -> np.ndarray:
    """Return (N, J, 3) points of some images, scaled to fractions."""
    folder = os.path.abspath(file.parent)
    points = []
    for path in paths:
        name = Path(os.path.relpath(os.path.abspath(path), folder)).as_posix()
        if name not in found:
            raise InputError(
                f"{file} has no key points of {name}: add them, or leave the image's keypoints empty in the table."
            )
        try:
            with Image.open(path) as image:  # the header alone
                size = np.array([image.width, image.height, 1], np.float32)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error}.") from None
        points.append(found[name] / size)
    return np.stack(points)
