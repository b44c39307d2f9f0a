"""PRID2011 (Hirzer et al., "Person Re-Identification by Descriptive and Discriminative Classification", SCIA 2011)."""

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
from reid_lightning.data.readers.walks import parse_walks, people_with_long_walks
from reid_lightning.data.table import validate_table

PEOPLE_IN_COMMON = (
    200  # persons 1 to 200 are the same in both cameras; beyond, equal numbers mean different people
)

_IMAGE = re.compile(r"person_(?P<person_id>\d{4})" + ENDING, re.IGNORECASE)
_FOLDER = re.compile(r"person_(?P<person_id>\d{4})")
_FRAME = re.compile(r"(?P<frame_id>\d{4})" + ENDING, re.IGNORECASE)


def read_prid2011(
    root: str | Path, test_identities: int = 100, split: int = 0, query_camera: str = "a"
) -> pd.DataFrame:
    """Read the folder `single_shot`: `cam_a/person_0001.png`, one image of each person in each camera.

    Camera a saw 385 people and camera b 749, of whom 200 are the same. The strangers of the gallery's camera stay
    in the gallery: 649 images with 100 people tested from camera a.

    Args:
        root: The folder that holds `single_shot`, or the one that holds `prid_2011`.
        test_identities: People of the 200 that are tested, drawn at random; the others train.
        split: Which random draw, from 0 on; ten are usual.
        query_camera: "a" or "b".

    Raises:
        InputError: A folder is missing, an image is named otherwise, or `test_identities` leaves nobody to
            train on.
    """
    cameras = ["single_shot/cam_a", "single_shot/cam_b"]
    folder = find_folder(root, cameras, ["prid_2011"])
    example = "person_0001.png"
    parts = [parse_images(folder / name, _IMAGE, example, {"camera_id": name[-1]}) for name in cameras]
    images = _name_strangers(pd.concat(parts, ignore_index=True))
    common = _in_common(images, folder)
    test = draw_test_people(common, test_identities, split)
    strangers = ~images["person_id"].isin(common)
    images = images[~(strangers & (images["camera_id"] == query_camera))]
    table = split_by_camera(images, test | set(images.loc[strangers, "person_id"]), query_camera)
    protocol = f"single shot, split {split}, {describe_split(table)}, from camera {query_camera}"
    return validate_table(table.assign(source="prid2011", protocol=protocol), str(folder))


def read_prid2011_video(
    root: str | Path,
    min_frames: int = 22,
    test_identities: int = 89,
    split: int = 0,
    query_camera: str = "a",
) -> pd.DataFrame:
    """Read the folder `multi_shot`: `cam_a/person_0001/0001.png`, a walk of each person in each camera.

    As in Wang et al., "Person Re-Identification by Video Ranking" (ECCV 2014), only people count whose walks are
    longer than 21 frames in both cameras: 178 of the 200, half of them tested.

    Args:
        root: The folder that holds `multi_shot`, or the one that holds `prid_2011`.
        min_frames: Frames that each walk of a person needs.
        test_identities: People that are tested, drawn at random; the others train.
        split: Which random draw, from 0 on; ten are usual.
        query_camera: "a" or "b".

    Raises:
        InputError: A folder is missing, a folder or image is named otherwise, or `test_identities` leaves nobody
            to train on.
    """
    cameras = {"a": "multi_shot/cam_a", "b": "multi_shot/cam_b"}
    folder = find_folder(root, list(cameras.values()), ["prid_2011"])
    parts = [
        parse_walks(folder / name, _FOLDER, _FRAME, "person_0001/0001.png (person, frame)", camera)
        for camera, name in cameras.items()
    ]
    images = _name_strangers(pd.concat(parts, ignore_index=True))
    images = images[images["person_id"].isin(_in_common(images, folder))]
    people = people_with_long_walks(images, min_frames)
    test = draw_test_people(people, test_identities, split)
    table = split_by_camera(images[images["person_id"].isin(people)], test, query_camera)
    protocol = f"walks of {min_frames} frames or more, split {split}, {describe_split(table)}, from camera {query_camera}"
    return validate_table(table.assign(source="prid2011_video", protocol=protocol), str(folder))


def _name_strangers(images: pd.DataFrame) -> pd.DataFrame:
    """Add the camera to the name of everyone whom only one camera saw."""
    stranger = images["person_id"].astype(int) > PEOPLE_IN_COMMON
    names = images["person_id"].mask(stranger, images["camera_id"] + images["person_id"])
    return images.assign(person_id=names)


def _in_common(images: pd.DataFrame, folder: Path) -> list[str]:
    """Return the people of both cameras, sorted."""
    return require_both_cameras(images[images["person_id"].str.isdigit()], folder)
