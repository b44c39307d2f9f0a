"""CUHK01 (Li et al., "Human Reidentification with Transferred Metric Learning", ACCV 2012)."""

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

_NAME = re.compile(r"(?P<person_id>\d{4})(?P<image>\d{3})" + ENDING, re.IGNORECASE)


def read_cuhk01(
    root: str | Path, test_identities: int = 486, split: int = 0, query_camera: str = "a"
) -> pd.DataFrame:
    """Read the folder `campus`: `0001003.png` is person 1's third image.

    Images 1 and 2 come from camera a, 3 and 4 from camera b: 971 people, 3,884 images.

    Args:
        root: The folder that holds `campus`.
        test_identities: People of the test, drawn at random; the others train. 486 is the usual protocol (485
            train); the University of Birjand's paper takes 484 (487 train).
        split: Which random draw, from 0 on; ten are usual.
        query_camera: "a" or "b"; the other camera is the gallery, two images a person. A single-shot protocol
            draws one of them (`evaluation.single_shot`).

    Raises:
        InputError: The folder is missing, an image is named otherwise, a person lacks a camera, or
            `test_identities` leaves nobody to train on.
    """
    folder = find_folder(root, ["campus"], ["CUHK01"]) / "campus"
    images = parse_images(folder, _NAME, "0001003.png (person, image)")
    images["camera_id"] = images.pop("image").map(lambda number: "a" if int(number) <= 2 else "b")
    people = require_both_cameras(images, folder)
    test = draw_test_people(people, test_identities, split)
    table = split_by_camera(images, test, query_camera)
    protocol = f"split {split}, {describe_split(table)}, from camera {query_camera}"
    return validate_table(table.assign(source="cuhk01", protocol=protocol), str(folder))
