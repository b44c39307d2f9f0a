"""A contact sheet: people down, cameras across, or images where cameras are unknown."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from reid_lightning.errors import InputError
from reid_lightning.reporting.pictures import Picture, read_picture, require_picture, write_picture

HEIGHT = 128  # pixels of a cell


def contact_sheet(
    table: pd.DataFrame,
    path: str | Path,
    people: int = 10,
    cameras: int = 6,
    shots: int = 2,
) -> Path:
    """Write a picture with a row a person and `shots` images of each camera beside each other.

    Where no camera is known, a row holds the person's first `cameras` x `shots` images.

    Args:
        table: The images' table.
        path: Picture to write (PNG or JPEG).
        people: Number of identities, those seen by most cameras (or with most images) first.
        cameras: Number of cameras.
        shots: Images of one person in one camera.

    Returns:
        The path.

    Raises:
        InputError: There is no image, or the file extension is not an image format.
    """
    require_picture(path)
    table = table[~table["distractor"]]
    if table["camera_id"].notna().any():
        table = table[table["camera_id"].notna()]
        seen = table["camera_id"].unique()
        blocks = [[camera] for camera in sorted(seen, key=lambda camera: (len(camera), camera))[:cameras]]
        column, places = "camera_id", shots
    else:
        blocks, column, places = [sorted(table["path"])], "path", cameras * shots
    if table.empty:
        raise InputError("There is no image of a person to show.")
    table = table[table[column].isin([value for block in blocks for value in block])]
    counts = table.groupby("person_id")[column].nunique().sort_values(ascending=False, kind="stable")
    if column == "path":
        places = min(places, int(counts.iloc[0]))
    width = _width(table["path"].iloc[0])
    rows = []
    for person in sorted(counts.index[:people]):
        own = table[table["person_id"] == person]
        cells = []
        for block in blocks:
            files = sorted(own.loc[own[column].isin(block), "path"])[:places]
            cells += [_cell(file, width) for file in files] + [_cell(None, width)] * (places - len(files))
        rows.append(np.hstack(cells))
    write_picture(np.vstack(rows), path)
    return Path(path)


def _width(file: str) -> int:
    """The width of every cell: that of an image which is 128 pixels high, 64 for most people and 128 for faces."""
    height, width = read_picture(file).shape[:2]
    return int(np.clip(round(HEIGHT * width / height), HEIGHT // 4, 2 * HEIGHT))


def _cell(file: str | None, width: int) -> Picture:
    """An image, 128 pixels high, with a white edge; blank without a file."""
    picture: Picture = np.full((HEIGHT, width, 3), 235, np.uint8)
    if file is not None:
        picture = cv2.resize(read_picture(file), (width, HEIGHT), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return np.pad(picture, ((1, 1), (1, 1), (0, 0)), constant_values=255)
