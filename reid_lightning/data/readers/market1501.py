"""Market-1501 and data sets laid out like it (Zheng et al., "Scalable Person Re-identification", 2015)."""

import os
import re
from pathlib import Path

import pandas as pd

from reid_lightning.data.table import validate_table
from reid_lightning.errors import InputError

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
INNER_FOLDER = "Market-1501-v15.09.15"

# Identity, camera, sequence, frame, box. The public archive holds some names with a doubled `.jpg.jpg`.
_NAME = re.compile(r"(-1|\d{4,})_c(\d+)s(\d+)_(\d{6,})_(\d{2,})(?:\.jpg)?\.(?:jpe?g|png)", re.IGNORECASE)
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def read_market1501(root: str | Path) -> pd.DataFrame:
    """Read the folders `bounding_box_train`, `query` and `bounding_box_test` into one table.

    Names mean identity, camera, sequence, frame and box: `0001_c1s1_001051_00.jpg`. Junk (identity -1) is
    left out; distractors (identity 0000) stay in the gallery as negatives. Other files, such as `Thumbs.db`,
    are passed over.

    Args:
        root: The folder that holds these three, or the one that holds `Market-1501-v15.09.15`.

    Returns:
        A table sorted by split (train, query, gallery) and file name: 12,936, 3,368 and 15,913 rows for the
        published data set.

    Raises:
        InputError: A folder is missing or empty, or an image's name does not parse.
    """
    folder = _find_tree(Path(root).expanduser())
    frames = [_read_folder(folder / name, split) for split, name in FOLDERS.items()]
    return validate_table(pd.concat(frames, ignore_index=True).assign(source="market1501"), str(folder))


def _read_folder(folder: Path, split: str) -> pd.DataFrame:
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(_IMAGE_SUFFIXES))
    rows = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            raise InputError(
                f"{folder / name} is not named like 0001_c1s1_001051_00.jpg (identity, camera, sequence, "
                "frame, box): rename it, move it away, or read the folder with data=table."
            )
        person, camera, sequence, frame, _ = match.groups()
        if person != "-1":
            distractor = int(person) == 0
            rows.append((f"{folder}{os.sep}{name}", person, split, camera, sequence, int(frame), distractor))
    if not rows:
        raise InputError(f"{folder} holds no images named like 0001_c1s1_001051_00.jpg.")
    columns = ["path", "person_id", "split", "camera_id", "sequence_id", "frame_id", "distractor"]
    return pd.DataFrame(rows, columns=columns)


def _find_tree(root: Path) -> Path:
    """Return the folder that holds the three, or say which are missing and where they lie instead."""
    for folder in (root, root / INNER_FOLDER):
        if _is_tree(folder):
            return folder
    wanted = ", ".join(FOLDERS.values())
    if not root.is_dir():
        raise InputError(f"data.root={root} is no folder; it should hold {wanted}.")
    children = sorted(root.iterdir())
    below = [folder for child in children for folder in (child, child / INNER_FOLDER) if _is_tree(folder)]
    found = root.parent if _is_tree(root.parent) else below[0] if below else None
    if found is not None:
        level = "above" if found == root.parent else "below"
        raise InputError(
            f"data.root={root} does not hold {wanted}, but the level {level} does: use data.root={found}."
        )
    missing = [name for name in FOLDERS.values() if not (root / name).is_dir()]
    raise InputError(
        f"data.root={root} lacks {', '.join(missing)}: looked for {wanted} there and in "
        f"{root / INNER_FOLDER}."
    )


def _is_tree(folder: Path) -> bool:
    return all(os.path.isdir(folder / name) for name in FOLDERS.values())
