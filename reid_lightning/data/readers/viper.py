"""VIPeR (Gray et al., "Evaluating Appearance Models for Recognition, Reacquisition, and Tracking", PETS 2007)."""

import re
from pathlib import Path

import pandas as pd

from reid_lightning.data.readers.image_files import ENDING
from reid_lightning.data.readers.layout import find_folder, parse_images
from reid_lightning.data.readers.two_cameras import (
    describe_split,
    draw_test_people,
    require_both_cameras,
    split_by_camera,
)
from reid_lightning.data.table import validate_table

_NAME = re.compile(r"(?P<person_id>\d{3})_\d+" + ENDING, re.IGNORECASE)


def read_viper(
    root: str | Path, test_identities: int = 316, split: int = 0, query_camera: str = "a"
) -> pd.DataFrame:
    """Read the folders `cam_a` and `cam_b`: `000_45.bmp` is person 0, seen at 45 degrees.

    632 people with one image in each camera.

    Args:
        root: The folder that holds the two, or the one that holds `VIPeR`.
        test_identities: People of the test, drawn at random; the others train.
        split: Which random draw, from 0 on; ten are usual.
        query_camera: "a" or "b"; the other camera is the gallery. Papers average over both directions.

    Raises:
        InputError: A folder is missing, an image is named otherwise, a person lacks a camera, or
            `test_identities` leaves nobody to train on.
    """
    folder = find_folder(root, ["cam_a", "cam_b"], ["VIPeR"])
    example = "000_45.bmp (person, viewing angle)"
    cameras = [
        parse_images(folder / f"cam_{camera}", _NAME, example, {"camera_id": camera}) for camera in "ab"
    ]
    images = pd.concat(cameras, ignore_index=True)
    people = require_both_cameras(images, folder)
    test = draw_test_people(people, test_identities, split)
    table = split_by_camera(images, test, query_camera)
    protocol = f"split {split}, {describe_split(table)}, from camera {query_camera}"
    return validate_table(table.assign(source="viper", protocol=protocol), str(folder))
