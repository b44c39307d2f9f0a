"""Images on their way into a gallery: what is known of them from folders and tables, and their vectors by a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from reid_lightning.errors import InputError
from reid_lightning.inference.embed import TABLES, list_images
from reid_lightning.inference.gallery.columns import check_columns
from reid_lightning.inference.options import require_option
from reid_lightning.inference.quality import require_quality

if TYPE_CHECKING:
    from reid_lightning.inference.model import Model

BATCH = 4096  # images that are embedded and then added at once: what a kill can lose


@dataclass(frozen=True)
class Adding:
    """How images are added to a gallery, and by which model.

    Attributes:
        checkpoint: A checkpoint file written by a run, or the folder of a saved model; the one that the gallery has.
        people: Whether the folders in a folder name their people.
        batch: Images per write; a kill loses at most this many.
        quality: Whether the column `quality` says how good each image is, from 0 to 1, see `data.quality`.
        min_quality: Minimum quality of an image; the others are left out and listed. It implies `quality`.
        overrides: Hydra overrides of the checkpoint's config.
        trust: Packages of your own that the checkpoint's config may name; their code is run.

    Raises:
        InputError: A number is out of range.
    """

    checkpoint: Path
    people: bool = False
    batch: int = BATCH
    quality: bool = False
    min_quality: float | None = None
    overrides: Sequence[str] = ()
    trust: Sequence[str] = ()

    def __post_init__(self) -> None:
        require_option("--batch", self.batch >= 1, "be 1 or more", self.batch)
        require_quality(self.min_quality)


def load_model(checkpoint: Path, overrides: Sequence[str], trust: Sequence[str]) -> "Model":
    """Return the model of a checkpoint, a saved folder or Hugging Face; see `reid_lightning.load`."""
    from reid_lightning.inference.load import load

    return load(checkpoint, overrides=overrides, trust=trust)


def preprocessing_line(model: "Model") -> str:
    """Say in one line how a model turns images into vectors: models that differ in it cannot share a gallery.

    Vectors of two models of the same weights and the same line may be compared.
    """
    return model.preprocessing.line(model.protocol.describe().split(";")[0])


def image_rows(
    sources: Sequence[Path], people: bool = False, otherwise: str = "leave --people out"
) -> pd.DataFrame:
    """Return images of files, folders and tables, with all that is known of them.

    Args:
        sources: Images, folders, and tables (CSV, TSV, Parquet) with a column `path`, whose other columns are kept.
        people: Whether the folders in a folder name their people.
        otherwise: What else a user may do about an image that lies in none.

    Returns:
        A row per image, absolute paths; each image once.

    Raises:
        InputError: A source holds no images, or a table has a column that cannot be kept.
    """
    tables = []
    for source in sources:
        is_table = Path(source).suffix.lower() in TABLES and Path(source).expanduser().is_file()
        table = list_images(source, all_columns=is_table)
        if is_table:
            check_columns(table, str(source))
        if people and Path(source).expanduser().is_dir():
            table["person_id"] = [
                _folder_of(path, Path(source).expanduser(), otherwise) for path in table["path"]
            ]
        table["path"] = pd.Series([str(Path(path).absolute()) for path in table["path"]], dtype=object)
        tables.append(table)
    found = pd.concat(tables, ignore_index=True)
    return found.drop_duplicates("path").reset_index(drop=True)


def _folder_of(path: str, root: Path, otherwise: str) -> str:
    parts = Path(path).relative_to(root).parts
    if len(parts) < 2:
        raise InputError(f"{path} is not in a person's folder: move it into one, or {otherwise}.")
    return parts[0]
