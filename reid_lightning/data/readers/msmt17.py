"""MSMT17 (Wei et al., "Person Transfer GAN to Bridge Domain Gap for Person Re-Identification", CVPR 2018)."""

import os
import re
from pathlib import Path

import pandas as pd

from reid_lightning.data.readers.image_files import ENDING
from reid_lightning.data.readers.layout import find_folder, read_lines
from reid_lightning.data.table import validate_table
from reid_lightning.errors import InputError, require

LISTS = {name: f"list_{name}.txt" for name in ("train", "val", "query", "gallery")}
IMAGE_FOLDERS = {"V1": ("train", "test"), "V2": ("mask_train_v2", "mask_test_v2")}

# Person, number, camera, date and time of day, and two more numbers; `_ex` marks an enlarged box.
_LINE = re.compile(
    rf"(?P<path>\S+/\d{{4}}_\d{{3}}_(?P<camera_id>\d{{2}})_\S+{ENDING}) (?P<label>\d+)\s*", re.IGNORECASE
)


def read_msmt17(root: str | Path, training: str = "train") -> pd.DataFrame:
    """Read the four lists: a line is `0000/0000_000_01_0303morning_0008_0.jpg 0`, path and label.

    15 cameras. Images of the same 1,041 people are in the lists train (30,248) and val (2,373), so that val is no
    validation by other people; 3,060 others are tested (11,659 queries, 82,161 in the gallery).

    Args:
        root: The folder that holds the lists, or the one that holds `MSMT17_V1` or `MSMT17_V2` (faces masked).
        training: "train", or "train+val" as the TransReID family does; a result names it.

    Returns:
        A table sorted by split (train, query, gallery) in the order of the lists. Labels of the two halves start
        at 0 each, so identities are called `train0000` and `test0000`.

    Raises:
        InputError: A file or folder is missing, or a line does not parse.
    """
    require(training in ("train", "train+val"), "training", "train or train+val", training)
    folder = find_folder(root, list(LISTS.values()), ["MSMT17_V1", "MSMT17_V2", "MSMT17"])
    version, train, test = _image_folders(folder)
    parts = [_read_list(folder / LISTS[name], folder / train, "train") for name in training.split("+")]
    parts += [_read_list(folder / LISTS[name], folder / test, name) for name in ("query", "gallery")]
    protocol = f"{version}, trained on {' + '.join(training.split('+'))}"
    table = pd.concat(parts, ignore_index=True).assign(source="msmt17", protocol=protocol)
    return validate_table(table, str(folder))


def _image_folders(folder: Path) -> tuple[str, str, str]:
    for version, (train, test) in IMAGE_FOLDERS.items():
        if (folder / train).is_dir() and (folder / test).is_dir():
            return version, train, test
    wanted = " or ".join(" and ".join(names) for names in IMAGE_FOLDERS.values())
    raise InputError(f"{folder} holds the lists but no images: it lacks the folders {wanted}.")


def _read_list(path: Path, images: Path, split: str) -> pd.DataFrame:
    half = "train" if split == "train" else "test"
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise InputError(
                f"{path}, line {number} is {line!r}, and not like '0000/0000_000_01_0303morning_0008_0.jpg 0' "
                "(path and label): correct it or copy the list again."
            )
        person = f"{half}{int(match['label']):04d}"
        rows.append((f"{images}{os.sep}{match['path']}", person, split, str(int(match["camera_id"]))))
    if not rows:
        raise InputError(f"{path} is empty: copy the list again.")
    return pd.DataFrame(rows, columns=["path", "person_id", "split", "camera_id"])
