"""A folder per person: faces, own photos, anything sorted by hand."""

import logging
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from reid_lightning.data.readers.image_files import ImageFiles
from reid_lightning.data.splits import choose_identities, choose_queries
from reid_lightning.data.table import SPLITS, validate_table
from reid_lightning.errors import InputError

log = logging.getLogger("reid_lightning")

# What splits are called elsewhere, without capitals and marks, and what to do about it.
_CALLED = {
    "call it train": "training trainset boundingboxtrain",
    "call it val": "valid validation valset",
    "call it query": "queries probe probes",
    "call it gallery": "galleries",
    "sort its images into the folders query and gallery": "test testing testset boundingboxtest",
}
_LIKE_SPLITS = {word: what for what, words in _CALLED.items() for word in words.split()}


def read_identity_folder(
    root: str | Path,
    camera_pattern: str | None = None,
    test_fraction: float = 0.5,
    seed: int = 0,
    attributes: str | Path | None = None,
) -> pd.DataFrame:
    """Read `root/PERSON/**/image`, or `root/SPLIT/PERSON/**/image` with splits train, val, query, gallery.

    Without split folders, `test_fraction` of the identities are held out for the test and split into query
    and gallery by `splits.choose_queries`. Files that are not read and people without images are said in the log.

    Args:
        root: The folder that holds the persons' folders or the split folders (in capitals or not).
        camera_pattern: Regular expression with a group named `camera`, searched in the path below the
            person's folder, such as `(?P<camera>c\\d+)`. None: the cameras are unknown.
        test_fraction: Share of the identities held out, 0 to 1; read only without split folders.
        seed: Which identities are held out and which of their images are queries.
        attributes: CSV file of the identities' attributes, which the column `attribute_file` then names.

    Raises:
        InputError: The folder is missing, holds no persons' folders or split folders a level off or of other names, a
            link leads to other people's images, or a path does not match the pattern.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise InputError(f"data.root={root} is not a folder; it should hold a folder for each person.")
    pattern = _compile(camera_pattern)
    files = ImageFiles(root)
    folders = files.folders(root)
    splits = [folder for folder in folders if _is_split(folder)]
    _check_folders(root, folders, splits)
    if splits:
        rows = [row for name in splits for row in _read_persons(files, root / name, name.lower(), pattern)]
        table = pd.DataFrame(rows)
    else:
        if len(folders) == 1 and files.folders(root / folders[0]):
            raise InputError(
                f"{root} holds only the folder {folders[0]}, as if it were a person: use data.root={root / folders[0]}."
            )
        table = _hold_out(pd.DataFrame(_read_persons(files, root, "train", pattern)), test_fraction, seed)
    files.report()
    return validate_table(
        table if attributes is None else table.assign(attribute_file=str(attributes)), str(root)
    )


def _is_split(folder: str) -> bool:
    return folder.lower() in SPLITS


def _check_folders(root: Path, folders: list[str], splits: list[str]) -> None:
    """Refuse folders of splits under other names, and beside those of people."""
    for folder in folders:
        advice = _LIKE_SPLITS.get(re.sub(r"[\W_]", "", folder).lower())
        if advice is not None:
            raise InputError(
                f"{root} holds the folder {folder}, which looks like a split and not like a person: {advice}; a tree like "
                "Market-1501's is read with data=market1501."
            )
    if splits and len(splits) < len(folders):
        stray = next(folder for folder in folders if folder not in splits)
        raise InputError(
            f"{root} holds the folder {stray} beside {splits[0]}: it must hold either only folders "
            f"named {', '.join(SPLITS)} or only folders of persons."
        )


def _read_persons(
    files: ImageFiles, folder: Path, split: str, pattern: re.Pattern[str] | None
) -> list[dict[str, str | None]]:
    stray = next(iter(files.images(folder, count=False)), None)
    if stray is not None:
        raise InputError(f"{folder / stray} is not in a person's folder: move it into one.")
    rows: list[dict[str, str | None]] = []
    empty: list[str] = []
    for person in files.folders(folder):
        own = os.path.join(folder, person)
        below = person if _is_split(person) else next(filter(_is_split, files.folders(own)), None)
        if below is not None:
            raise InputError(
                f"{own if below == person else os.path.join(own, below)} is a folder of a split where one of a person or of "
                "its images is expected: put the folders train, query and gallery directly into data.root."
            )
        images = files.images_below(own)
        for path in images:
            camera = _camera(pattern, path, len(own) + 1) if pattern else None
            rows.append({"path": path, "person_id": person, "split": split, "camera_id": camera})
        if not images:
            empty.append(person)
    if not rows:
        files.report()
        raise InputError(f"{folder} holds no images below a folder for each person.")
    if empty:
        log.warning("%s: %d people have no image and are left out: %s", folder, len(empty), _first(empty))
    return rows


def _first(names: list[str], count: int = 5) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _compile(camera_pattern: str | None) -> re.Pattern[str] | None:
    if camera_pattern is None:
        return None
    try:
        pattern = re.compile(camera_pattern)
    except re.error as error:
        raise InputError(f"camera_pattern={camera_pattern} is not a regular expression: {error}.") from None
    if "camera" not in pattern.groupindex:
        raise InputError(
            f"camera_pattern={camera_pattern} has no group named camera, as in (?P<camera>c\\d+): add one."
        )
    return pattern


def _camera(pattern: re.Pattern[str], path: str, below: int) -> str:
    """Search the path from its character `below` on, which is where the person's folder ends."""
    match = pattern.search(path[below:])
    if match is None:
        raise InputError(f"{path} does not match camera_pattern={pattern.pattern}: correct one of the two.")
    return match["camera"]


def _hold_out(table: pd.DataFrame, test_fraction: float, seed: int) -> pd.DataFrame:
    if not 0 <= test_fraction <= 1:
        raise InputError(f"test_fraction={test_fraction} is not a number between 0 and 1.")
    held_out = table["person_id"].isin(choose_identities(table["person_id"], test_fraction, seed)).to_numpy()
    test = table[held_out]
    identities = pd.factorize(test["person_id"], sort=True)[0]
    cameras = pd.factorize(test["camera_id"], sort=True)[0]  # -1 where missing
    is_query = choose_queries(identities, cameras, seed)
    table.loc[held_out, "split"] = np.where(is_query, "query", "gallery")
    return table
