"""iLIDS-VID (Wang et al., "Person Re-Identification by Video Ranking", ECCV 2014)."""

import re
from pathlib import Path

import pandas as pd

from reid_lightning.data.readers.image_files import ENDING
from reid_lightning.data.readers.layout import find_folder, read_mat
from reid_lightning.data.readers.two_cameras import (
    check_split,
    describe_split,
    require_both_cameras,
    split_by_camera,
)
from reid_lightning.data.readers.walks import parse_walks
from reid_lightning.data.table import validate_table
from reid_lightning.errors import InputError

WALKS = "i-LIDS-VID/sequences"
SPLITS = "train-test people splits/train_test_splits_ilidsvid.mat"

_FOLDER = re.compile(r"person(?P<person_id>\d{3})")
_FRAME = re.compile(r"cam\d_person\d{3}_(?P<frame_id>\d+)" + ENDING, re.IGNORECASE)


def read_ilids_vid(root: str | Path, split: int = 0, query_camera: str = "1") -> pd.DataFrame:
    """Read `i-LIDS-VID/sequences/cam1/person001/cam1_person001_00317.png` and the authors' ten splits.

    300 people with a walk in each of two cameras; half of them train.

    Args:
        root: The folder that holds `i-LIDS-VID` and `train-test people splits`.
        split: Which of the ten splits, 0 to 9.
        query_camera: "1" or "2"; the other camera is the gallery.

    Raises:
        InputError: A folder or file is missing, a name does not parse, a person lacks a camera, or the splits
            name other people than the folders.
    """
    folder = find_folder(root, [f"{WALKS}/cam1", f"{WALKS}/cam2", SPLITS])
    example = "person001/cam1_person001_00317.png (camera, person, frame)"
    parts = [
        parse_walks(folder / WALKS / f"cam{camera}", _FOLDER, _FRAME, example, camera) for camera in "12"
    ]
    images = pd.concat(parts, ignore_index=True)
    people = require_both_cameras(images, folder / WALKS)
    orders = read_mat(folder / SPLITS, "ls_set")["ls_set"]  # (10, 300) positions of the people, from 1
    check_split(split, len(orders))
    order = orders[split].astype(int)
    if sorted(order) != list(range(1, len(people) + 1)):
        raise InputError(
            f"{folder / SPLITS} orders {len(order)} people, but {folder / WALKS} holds {len(people)}: unpack both again."
        )
    tested = [people[position - 1] for position in order[: len(order) // 2]]
    table = split_by_camera(images, tested, query_camera)
    protocol = f"split {split}, {describe_split(table)}, from camera {query_camera}"
    return validate_table(table.assign(source="ilids_vid", protocol=protocol), str(folder))
