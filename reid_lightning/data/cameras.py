"""Which camera an image is from, as a number that a network has learned something of."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from reid_lightning.data.table import camera_keys


def training_cameras(table: pd.DataFrame) -> list[str]:
    """Return the cameras of the training images as `source/camera_id`, in order; empty where none is known.

    Examples:
        >>> table = pd.DataFrame({"camera_id": ["2", "1", "9"], "split": ["train", "train", "query"]})
        >>> table["source"] = "market1501"
        >>> training_cameras(table)
        ['market1501/1', 'market1501/2']
    """
    return sorted(camera_keys(table[table["split"] == "train"]).dropna().unique())


def camera_numbers(table: pd.DataFrame, names: Sequence[str] | None = None) -> np.ndarray:
    """Return the position of each row's camera among some names, (N,) int64, -1 for a camera that is not among them.

    Args:
        table: N rows, sources put together.
        names: Cameras as `source/camera_id`; None: those of the training images.
    """
    names = training_cameras(table) if names is None else names
    numbers = {name: number for number, name in enumerate(names)}
    return camera_keys(table).map(numbers).fillna(-1).to_numpy(np.int64)
