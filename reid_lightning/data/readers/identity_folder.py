"""A folder per person: faces, own photos, anything sorted by hand."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from reid_lightning.data.splits import choose_identities, choose_queries
from reid_lightning.data.table import SPLITS, validate_table
from reid_lightning.errors import InputError

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def read_identity_folder(
    root: str | Path,
    camera_pattern: str | None = None,
    test_fraction: float = 0.5,
    seed: int = 0,
    attributes: str | Path | None = None,
) -> pd.DataFrame:
    """Read `root/PERSON/**/image`, or `root/SPLIT/PERSON/**/image` with splits train, val, query, gallery.

    Without split folders, `test_fraction` of the identities are held out for the test and split into query
    and gallery by `splits.choose_queries`.

    Args:
        root: The folder that holds the persons' folders or the split folders.
        camera_pattern: Regular expression with a group named `camera`, searched in the path below the
            person's folder, such as `(?P<camera>c\\d+)`. None: the cameras are unknown.
        test_fraction: Share of the identities held out, 0 to 1; read only without split folders.
        seed: Which identities are held out and which of their images are queries.
        attributes: CSV file of the identities' attributes, which the column `attribute_file` then names.

    Raises:
        InputError: The folder is missing, holds no persons' folders, or a path does not match the pattern.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise InputError(f"data.root={root} is no folder; it should hold a folder for each person.")
    pattern = _compile(camera_pattern)
    folders = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and entry.name[0] != "."]
    splits = [folder for folder in folders if folder.name in SPLITS]
    if splits and len(splits) < len(folders):
        stray = next(folder.name for folder in folders if folder.name not in SPLITS)
        raise InputError(
            f"{root} holds the folder {stray} beside {splits[0].name}: it must hold either only folders "
            f"named {', '.join(SPLITS)} or only folders of persons."
        )
    if splits:
        rows = [row for folder in splits for row in _read_persons(folder, folder.name, pattern)]
        table = pd.DataFrame(rows)
    else:
        table = _hold_out(pd.DataFrame(_read_persons(root, "train", pattern)), test_fraction, seed)
    return validate_table(
        table if attributes is None else table.assign(attribute_file=str(attributes)), str(root)
    )


def _read_persons(folder: Path, split: str, pattern: re.Pattern[str] | None) -> list[dict[str, str | None]]:
    rows = []
    for person in sorted(entry for entry in os.listdir(folder) if entry[0] != "."):
        if person.lower().endswith(_IMAGE_SUFFIXES):
            raise InputError(f"{folder / person} lies in no person's folder: move it into one.")
        own = str(folder / person)
        for path in images_below(own):
            camera = _camera(pattern, path, len(own) + 1) if pattern else None
            rows.append({"path": path, "person_id": person, "split": split, "camera_id": camera})
    if not rows:
        raise InputError(f"{folder} holds no images below a folder for each person.")
    return rows


def images_below(folder: str | Path) -> list[str]:
    """Return the image files at any depth of a folder, hidden ones left out, in the order of their names."""
    paths = [
        os.path.join(parent, name).removeprefix(f".{os.sep}")
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(_IMAGE_SUFFIXES) and name[0] != "."
    ]
    return sorted(paths, key=lambda path: path.split(os.sep))


def _compile(camera_pattern: str | None) -> re.Pattern[str] | None:
    if camera_pattern is None:
        return None
    try:
        pattern = re.compile(camera_pattern)
    except re.error as error:
        raise InputError(f"camera_pattern={camera_pattern} is no regular expression: {error}.") from None
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
        raise InputError(f"test_fraction={test_fraction} is no share between 0 and 1.")
    held_out = table["person_id"].isin(choose_identities(table["person_id"], test_fraction, seed)).to_numpy()
    test = table[held_out]
    identities = pd.factorize(test["person_id"], sort=True)[0]
    cameras = pd.factorize(test["camera_id"], sort=True)[0]  # -1 where missing
    is_query = choose_queries(identities, cameras, seed)
    table.loc[held_out, "split"] = np.where(is_query, "query", "gallery")
    return table
