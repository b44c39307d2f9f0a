"""Video sets that hold a folder of frames for each person and camera: a walk, which is a tracklet."""

import re
from pathlib import Path

import pandas as pd

from reid_lightning.data.readers.image_files import ImageFiles
from reid_lightning.data.readers.layout import parse_images
from reid_lightning.errors import InputError


def parse_walks(
    folder: Path, person: re.Pattern[str], frame: re.Pattern[str], example: str, camera: str
) -> pd.DataFrame:
    """Read the folders of one camera.

    Args:
        folder: Holds a folder per person.
        person: Matches the name of such a folder; its group is `person_id`.
        frame: Matches the name of an image in it; its group is `frame_id`.
        example: A right path below `folder` and what its parts mean, for the error.
        camera: The camera's name.

    Returns:
        A row per frame with `path`, `frame_id`, `person_id`, `camera_id` and `tracklet_id`.

    Raises:
        InputError: A folder or image is named otherwise, or there is none.
    """
    walks = []
    for name in ImageFiles(folder).folders(folder):
        below = folder / name
        match = person.fullmatch(name)
        if match is None:
            raise InputError(f"{below} is not named like the folder in {example}: rename it or move it away.")
        walk = f"{camera}{match['person_id']}"
        columns = match.groupdict() | {"camera_id": camera, "tracklet_id": walk}
        walks.append(parse_images(below, frame, example, columns))
    if not walks:
        raise InputError(f"{folder} holds no folders named like the one in {example}.")
    return pd.concat(walks, ignore_index=True)


def people_with_long_walks(images: pd.DataFrame, min_frames: int) -> list[str]:
    """Return the people each of whose walks has enough frames, sorted."""
    shortest = images.groupby(["person_id", "tracklet_id"]).size().groupby("person_id").min()
    return sorted(shortest.index[shortest >= min_frames])
