"""CUHK03 (Li et al., "DeepReID", CVPR 2014) with its own protocol and that of Zhong et al. (CVPR 2017)."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from reid_lightning.data.readers.cuhk03_release import RELEASE, extract_images, read_test_sets
from reid_lightning.data.readers.layout import find_folder, parse_images, read_mat
from reid_lightning.data.readers.two_cameras import check_split, describe_split, split_by_camera
from reid_lightning.data.table import validate_table
from reid_lightning.errors import InputError, require

# Pair of cameras, person of the pair, view (1 or 2), image (1 to 5 from view 1, 6 to 10 from view 2).
_NAME = re.compile(r"(?P<pair>\d)_(?P<person>\d{3})_(?P<view>[12])_\d{2}\.png")
_EXAMPLE = "1_001_1_01.png (pair of cameras, person, view, image)"


def read_cuhk03(root: str | Path, boxes: str = "detected") -> pd.DataFrame:
    """Read the new protocol: 767 people train, 700 are tested, queries from both views.

    The images are taken from the folder `images_detected` (or `images_labeled`) beside the lists if it is there, and
    otherwise drawn out of `cuhk-03.mat` into the cache folder.

    Args:
        root: The folder that holds `cuhk03_new_protocol_config_detected.mat` (or `_labeled`) and either
            `cuhk-03.mat`, or `cuhk03_release` with it, or the folder of images.
        boxes: "detected" (7,365 training images, 1,400 queries, 5,332 in the gallery) or "labeled" by hand
            (7,368, 1,400, 5,328).

    Raises:
        InputError: A file is missing or cannot be read, or the list names an image that is not there.
    """
    _check(boxes)
    lists = f"cuhk03_new_protocol_config_{boxes}.mat"
    folder = find_folder(root, [lists], ["cuhk03"])
    config = read_mat(folder / lists, "filelist", "labels", "train_idx", "query_idx", "gallery_idx")
    images = _image_folder(folder, boxes)
    names = np.array([str(np.ravel(cell)[0]) for cell in config["filelist"].ravel()], dtype=object)
    parts = []
    for split in ("train", "query", "gallery"):
        positions = config[f"{split}_idx"].ravel().astype(int) - 1
        people = config["labels"].ravel()[positions].astype(int)
        parts.append(pd.DataFrame({"name": names[positions], "person_id": people, "split": split}))
    table = pd.concat(parts, ignore_index=True)
    _require_images(table["name"], images, folder / lists)
    table["path"] = str(images) + os.sep + table["name"]
    table["camera_id"] = table["name"].str.replace(_NAME, r"\g<pair>_\g<view>", regex=True)
    protocol = f"{boxes} boxes, new protocol, {describe_split(table)}"
    return validate_table(table.drop(columns="name").assign(source="cuhk03", protocol=protocol), str(folder))


def read_cuhk03_classic(
    root: str | Path, boxes: str = "detected", split: int = 0, query_view: str = "1"
) -> pd.DataFrame:
    """Read one of the twenty splits of the release: 100 people are tested and all others, 1,367, train.

    Queries are all images of one view, the gallery those of the other; the protocol draws one of each person's
    (`evaluation.single_shot`).

    Args:
        root: The folder that holds `cuhk-03.mat`, or `cuhk03_release` with it.
        boxes: "detected" or "labeled" by hand.
        split: Which of the twenty splits, 0 to 19.
        query_view: "1" or "2".

    Raises:
        InputError: The file is missing or cannot be read, or there is no such split or view.
    """
    _check(boxes)
    require(query_view in ("1", "2"), "query_view", "1 or 2", query_view)
    folder = find_folder(root, [RELEASE], ["cuhk03_release", "cuhk03", "cuhk03/cuhk03_release"])
    images = parse_images(extract_images(folder / RELEASE, boxes), _NAME, _EXAMPLE)
    images["person_id"] = images.pop("pair") + "_" + images.pop("person")
    test_sets = read_test_sets(folder / RELEASE)
    check_split(split, len(test_sets))
    tested = [f"{pair}_{person:03d}" for pair, person in test_sets[split]]
    unknown = sorted(set(tested) - set(images["person_id"]))
    if unknown:
        raise InputError(
            f"{folder / RELEASE}: split {split} tests person {unknown[0]}, of whom there is no image."
        )
    table = split_by_camera(images.rename(columns={"view": "camera_id"}), tested, query_view)
    protocol = f"{boxes} boxes, classic split {split}, {describe_split(table)}, from view {query_view}"
    return validate_table(table.assign(source="cuhk03_classic", protocol=protocol), str(folder))


def _check(boxes: str) -> None:
    require(boxes in ("detected", "labeled"), "boxes", "detected or labeled", boxes)


def _image_folder(folder: Path, boxes: str) -> Path:
    extracted = folder / f"images_{boxes}"
    if extracted.is_dir():
        return extracted
    for release in (folder / RELEASE, folder / "cuhk03_release" / RELEASE):
        if release.is_file():
            return extract_images(release, boxes)
    raise InputError(
        f"{folder} holds no images: put {RELEASE} (or cuhk03_release with it) there, or a folder images_{boxes}."
    )


def _require_images(names: pd.Series, images: Path, lists: Path) -> None:
    wrong = names[~names.str.fullmatch(_NAME)]
    if len(wrong):
        raise InputError(f"{lists} names {wrong.iloc[0]}, which is not like {_EXAMPLE}: copy the file again.")
    missing = sorted(set(names) - set(os.listdir(images)))
    if missing:
        raise InputError(
            f"{images} lacks {missing[0]} (and {len(missing) - 1} more of the {names.nunique()} images that {lists} "
            "names): unpack the data set again."
        )
