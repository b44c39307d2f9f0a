"""Generated people as a folder per person, as many data sets of one's own are laid out."""

import shutil
import tempfile
from pathlib import Path

import pandas as pd

from reid_lightning.data.pedestrians.dataset import read_pedestrians
from reid_lightning.errors import InputError
from reid_lightning.files import writing


def write_people(folder: str | Path, people: int = 20, cameras: int = 6, seed: int = 0) -> int:
    """Write images of generated people as `FOLDER/PERSON/PERSON_cCAMERA_NUMBER.jpg`, 64 x 128 pixels.

    Args:
        folder: A new or empty folder.
        people: How many.
        cameras: Cameras, of which each person is seen by some.
        seed: Seed of people, cameras and images; the same arguments give the same bytes.

    Returns:
        The number of images.

    Raises:
        InputError: A number is out of range, or the folder is not empty or cannot be written.
    """
    folder = Path(folder)
    if people < 1:
        raise InputError(f"--people must be 1 or more, got {people}.")
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"{folder} exists already; name a new folder.")
    with writing(folder), tempfile.TemporaryDirectory() as drawn:
        table = read_pedestrians(Path(drawn) / "tree", people, 2, cameras, seed=seed)
        table = table[table["split"] == "train"]
        person_numbers = pd.factorize(table["person_id"], sort=True)[0] + 1
        for number, (path, person, camera) in enumerate(
            zip(table["path"], person_numbers, table["camera_id"], strict=True)
        ):
            place = folder / f"p{person:04}"
            place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place / f"{place.name}_c{camera}_{number:05}.jpg")
    return len(table)
