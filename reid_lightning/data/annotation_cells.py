"""The cells of attribute files, before they mean anything: Lin et al.'s `.mat` and CSV as one frame."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reid_lightning.data.delimited import read_delimited
from reid_lightning.errors import InputError

_PARTS = ("train", "test")  # structs of identities in a `.mat`


def read_cells(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read a `.mat` that holds a struct of the structs `train` and `test`, or any other file as CSV.

    Returns:
        A row per identity, with the columns by name as they stand there, and what a message calls each row.

    Raises:
        InputError: The file is absent or cannot be read.
    """
    if not path.is_file():
        raise InputError(f"there is no attribute file {path}; name a market_attribute.mat or a CSV file.")
    return _read_mat(path) if path.suffix.lower() == ".mat" else _read_csv(path)


def _read_mat(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the fields of both structs under each other, by name: their order differs in the public file."""
    import scipy.io

    try:
        content = scipy.io.loadmat(str(path), squeeze_me=True, struct_as_record=False)
    except Exception as error:
        raise InputError(f"{path} cannot be read as a .mat file: {error}.") from error
    holder: dict[str, Any] = next(
        (vars(value) for value in content.values() if hasattr(value, "_fieldnames")), {}
    )
    frames, places = [], []
    for part in _PARTS:
        if not hasattr(holder.get(part), "_fieldnames"):
            raise InputError(
                f"{path} holds no struct of the structs train and test, as market_attribute.mat does."
            )
        fields = {name: np.atleast_1d(getattr(holder[part], name)) for name in holder[part]._fieldnames}
        lengths = {name: values.shape for name, values in fields.items()}
        for name, shape in lengths.items():
            if shape != next(iter(lengths.values())) or len(shape) > 1:
                raise InputError(
                    f"{path}, struct {part}: the field {name} has another length than the others."
                )
        frames.append(pd.DataFrame(fields))
        places += [f"{part} column {number + 1}" for number in range(len(frames[-1]))]
    for name in set(frames[0].columns) ^ set(frames[1].columns):
        raise InputError(f"{path}: only one of train and test has the field {name}.")
    return pd.concat(frames, ignore_index=True), tuple(places)


def _read_csv(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    frame = read_delimited(path)
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise InputError(f"{path} has several columns {twice[0]}: rename or remove all but one.")
    if frame.empty:
        raise InputError(f"{path} holds no identities.")
    return frame, tuple(f"row {number + 1}" for number in range(len(frame)))
