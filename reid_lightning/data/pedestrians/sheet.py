"""A contact sheet: people down, cameras across."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from reid_lightning.data.readers.market1501 import read_market1501
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path


def contact_sheet(
    root_or_table: str | Path | pd.DataFrame,
    path: str | Path,
    people: int = 10,
    cameras: int = 6,
    shots: int = 2,
) -> Path:
    """Write a picture with a row a person and `shots` images of each camera beside each other.

    Args:
        root_or_table: A tree laid out like Market-1501, or a table.
        path: Picture to write (PNG or JPEG).
        people: Number of identities, those seen by most cameras first.
        cameras: Number of cameras.
        shots: Images of one person in one camera.

    Returns:
        The path.

    Raises:
        InputError: The table has no cameras.
    """
    table = root_or_table if isinstance(root_or_table, pd.DataFrame) else read_market1501(root_or_table)
    table = table[~table["distractor"] & table["camera_id"].notna()]
    if table.empty:
        raise InputError("A contact sheet needs images whose cameras are known.")
    shown = sorted(table["camera_id"].unique(), key=lambda camera: (len(camera), camera))[:cameras]
    table = table[table["camera_id"].isin(shown)]
    seen = table.groupby("person_id")["camera_id"].nunique().sort_values(ascending=False, kind="stable")
    rows = []
    for person in sorted(seen.index[:people]):
        own = table[table["person_id"] == person]
        cells = []
        for camera in shown:
            files = sorted(own.loc[own["camera_id"] == camera, "path"])[:shots]
            cells += [_cell(file) for file in files] + [_cell(None)] * (shots - len(files))
        rows.append(np.hstack(cells))
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), np.vstack(rows))
    return Path(path)


def _cell(file: str | None) -> np.ndarray:
    """An image of 64 x 128 with a white edge; blank without a file."""
    picture: np.ndarray = np.full((128, 64, 3), 235, np.uint8)
    if file is not None:
        image = cv2.imread(file)
        if image is None:
            raise InputError(f"{file} is no image.")
        picture = cv2.resize(image, (64, 128), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(picture, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(255, 255, 255))
