"""A folder of crops of people whom nobody has named: what cameras and a detector leave."""

import re
from pathlib import Path

import pandas as pd

from reid_lightning.data.readers.image_files import ImageFiles
from reid_lightning.data.table import validate_table
from reid_lightning.errors import InputError


def read_crops(
    root: str | Path, camera_pattern: str | None = None, tracklet_pattern: str | None = None
) -> pd.DataFrame:
    """Read all images at any depth of a folder as training images of unknown people.

    Args:
        root: The folder.
        camera_pattern: Regular expression with a group named `camera`, searched in the path below the folder, such as
            `(?P<camera>c\\d+)`. None: the cameras are unknown.
        tracklet_pattern: Regular expression with a group named `tracklet`: images with one name in one camera are taken to
            show one person. None: no image is known to belong to another.

    Raises:
        InputError: The folder is missing or holds no images, a pattern has no such group, or a path does not match it.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise InputError(f"data.root={folder} is not a folder; it should hold the images to train on.")
    patterns = {
        "camera": _compiled(camera_pattern, "camera"),
        "tracklet": _compiled(tracklet_pattern, "tracklet"),
    }
    files = ImageFiles(folder)
    paths = files.images_below(folder)
    files.report()
    if not paths:
        raise InputError(f"{folder} holds no images at any depth; set data.root to the folder of the crops.")
    columns = {"path": paths, "person_id": [None] * len(paths), "split": ["train"] * len(paths)}
    start = len(str(folder)) + 1 if str(folder) != "." else 0
    for name, pattern in patterns.items():
        if pattern is not None:
            columns[f"{name}_id"] = [_found(pattern, name, path, start) for path in paths]
    return validate_table(pd.DataFrame(columns), str(folder))


def _compiled(pattern: str | None, group: str) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"{group}_pattern={pattern} is not a regular expression: {error}.") from None
    if group not in compiled.groupindex:
        raise InputError(
            f"{group}_pattern={pattern} has no group named {group}, as in (?P<{group}>c\\d+): add one."
        )
    return compiled


def _found(pattern: re.Pattern[str], group: str, path: str, start: int) -> str:
    match = pattern.search(path[start:])
    if match is None or match[group] is None:
        raise InputError(f"{path} does not match {group}_pattern={pattern.pattern}: correct one of the two.")
    return match[group]
