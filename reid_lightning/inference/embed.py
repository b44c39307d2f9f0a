"""Vectors of any images by the model of a checkpoint: files on disk, without a data set around them."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from torch import Tensor

from reid_lightning.data.cells import identifiers, refuse, texts
from reid_lightning.data.readers.image_files import IMAGE_SUFFIXES, images_below
from reid_lightning.data.readers.table_file import read_columns
from reid_lightning.data.table import UNKNOWN
from reid_lightning.errors import InputError
from reid_lightning.experiments.model_folder import WEIGHTS
from reid_lightning.reporting.cells import read_cell

TABLES = (".csv", ".tsv", ".parquet")
_OTHER_FILES = (
    ".txt",
    ".json",
    ".jsonl",
    ".xlsx",
    ".xls",
    ".ods",
    ".zip",
    ".mp4",
    ".avi",
    ".mov",
    ".ckpt",
    ".npz",
)
VECTORS = (".npz",)


class Embedder:
    """The model of a checkpoint, which turns image files into the vectors that its protocol compares.

    Args:
        checkpoint: A checkpoint file written by a run, or the folder of a saved model.
        overrides: Hydra overrides of its config, such as `evaluation.flip=true`.
        trust: Packages of your own that the checkpoint's config may name; their code is run.
    """

    def __init__(
        self, checkpoint: str | Path, overrides: Sequence[str] = (), trust: Sequence[str] = ()
    ) -> None:
        from reid_lightning.experiments.model_places import local_path
        from reid_lightning.inference.load import load  # a second of imports, for a model alone

        place = local_path(checkpoint)
        self.model = load(place, trust=trust, overrides=overrides)
        self.protocol = self.model.protocol
        self.image_size, self.device = self.model.image_size, self.model.device
        how = (*self.protocol.vector_choices, self.image_size)
        transform = self.model.config["test_transform"]
        chosen = how if transform is None else (*how, transform)
        with (place / WEIGHTS if place.is_dir() else place).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        digest.update(repr(chosen).encode())
        self.mark = digest.hexdigest()[:16]
        """The same for vectors that may be compared: of these weights, taken in this way."""

    def __call__(self, paths: Sequence[str]) -> Tensor:
        """Return (N, D) float32 vectors on the CPU.

        Raises:
            InputError: An image is missing or cannot be decoded.
        """
        return self.model.embed(paths)


def list_images(
    where: str | Path, name: str | None = None, people: bool = False, all_columns: bool = False
) -> pd.DataFrame:
    """Return image files, and whom they show where that is known.

    Args:
        where: An image, a folder, or a CSV, TSV or Parquet file with the column `path` (relative to its folder) and,
            where known, `person_id`. The folders in a folder name their people if `people` is set.
        name: Whom all of them show.
        people: Whether it must be known whom the images show.
        all_columns: Whether the other columns of a table are returned, too, as the file has them.

    Returns:
        Columns `path` and, where it is known, `person_id`, both strings.

    Raises:
        InputError: There is nothing, no image in it, or it is not known whom one shows.
    """
    where = Path(where).expanduser()
    if where.is_dir():
        table = pd.DataFrame({"path": images_below(where)}, dtype=object)  # names may be other than UTF-8
        if people and name is None:
            folders = [_folder_of(path, where) for path in table["path"]]
            table["person_id"] = pd.Series(folders, table.index, dtype=object)
    elif where.suffix.lower() in TABLES and where.is_file():
        table = _of_table(where, people and name is None, all_columns)
    elif where.suffix.lower() in _OTHER_FILES and where.is_file():
        raise InputError(
            f"{where} is neither an image nor a table ({', '.join(TABLES)}); give an image, a folder of images, or a table "
            "with a column path."
        )
    elif where.is_file():
        table = pd.DataFrame({"path": [str(where)]}, dtype=object)
    else:
        what = f"{where} is neither a file nor a folder" if os.path.lexists(where) else f"There is no {where}"
        raise InputError(f"{what}; give an image, a folder of images, or a table with a column path.")
    if table.empty:
        raise InputError(f"{where} holds no images; images end in {', '.join(IMAGE_SUFFIXES)}.")
    if name is not None:
        table["person_id"] = pd.Series(name, table.index, dtype=object)
    if people and "person_id" not in table.columns:
        raise InputError(f"{where} does not say whom its images show; give --name, or a column person_id.")
    return table


def _folder_of(path: str, root: Path) -> str:
    parts = Path(path).relative_to(root).parts
    if len(parts) < 2:
        raise InputError(
            f"{path} is not in a person's folder: move it into one, or give --name for all images."
        )
    if parts[0] == UNKNOWN:
        raise InputError(
            f"{path} lies in the folder {UNKNOWN}, which means unknown people: give it a name, or move it out."
        )
    return parts[0]


def _of_table(file: Path, people: bool, all_columns: bool) -> pd.DataFrame:
    table = read_columns(file).reset_index(drop=True)
    if "path" not in table.columns:
        raise InputError(f"{file} has no column path: it has {', '.join(map(str, table.columns))}.")
    if all_columns and not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise InputError(f"{file} has several columns {twice}: rename or remove all but one.")
    columns = {"path": texts(table, "path", str(file))}
    if "person_id" in table.columns:
        names = identifiers(table, "person_id", str(file))
        columns["person_id"] = names.mask(names == UNKNOWN)
    for name, values in columns.items():
        if name == "path" or people:
            refuse(table, values.isna().to_numpy(bool), str(file), f"{name} is empty")
    # A run's queries.csv is such a table, whose cells are written so that a spreadsheet runs none.
    known = pd.DataFrame(
        {name: values.astype(object).map(read_cell, na_action="ignore") for name, values in columns.items()}
    )
    paths = [os.path.join(file.parent.absolute(), path) for path in known["path"]]
    known = known.assign(path=pd.Series(paths, known.index, dtype=object))
    if all_columns:
        for name in table.columns.difference(known.columns, sort=False):
            is_text = table[name].dtype == object or isinstance(table[name].dtype, pd.StringDtype)
            known[str(name)] = table[name].map(read_cell, na_action="ignore") if is_text else table[name]
    return known
