"""The layout of the University of Trento's course: a flat folder to train on, and a test without identities."""

import logging
import re
from pathlib import Path

import pandas as pd

from reid_lightning.data.annotation_cells import read_cells
from reid_lightning.data.annotations import IDENTITY_COLUMNS, plain_identities
from reid_lightning.data.cells import identifiers
from reid_lightning.data.readers.image_files import ENDING
from reid_lightning.data.readers.layout import find_folder, parse_images
from reid_lightning.data.table import validate_table

log = logging.getLogger("reid_lightning")

FOLDERS = {"train": "train", "query": "queries", "gallery": "test"}
ANNOTATIONS = "annotations_train.csv"

_TRAIN = re.compile(
    r"(?P<person_id>-1|\d+)(?:_c(?P<camera_id>\d+)(?:s(?P<sequence_id>\d+)_(?P<frame_id>\d+))?)?"
    r"(?:[_-].*)?" + ENDING,
    re.IGNORECASE,
)
_ANY = re.compile("(?P<name>.*)", re.DOTALL)


def read_trento(root: str | Path, attributes: str | Path | None = None) -> pd.DataFrame:
    """Read the folders `train`, `queries` and `test` and the file `annotations_train.csv` into one table.

    Training images begin with the number of their person (`0002_c1s1_000451_03.jpg`), and may go on with camera, sequence
    and frame as Market-1501's do. Of queries and test images nothing is read but the image: nobody is known, whatever they
    are called, so that they are ranked and described, and nothing is scored. A subset of the people may be there: which
    people are annotated without an image, and the other way round, is said in the log.

    Args:
        root: The folder that holds these.
        attributes: File of the training people's attributes; None: `annotations_train.csv`, where there is one.

    Returns:
        A table sorted by split (train, query, gallery) and file name.

    Raises:
        InputError: A folder is missing or empty, a training image's name does not begin with a number, or the annotations
            cannot be read.
    """
    folder = find_folder(root, list(FOLDERS.values()))
    train = parse_images(
        folder / FOLDERS["train"],
        _TRAIN,
        "0002_c1s1_000451_03.jpg (person, then anything)",
        {"split": "train"},
    )
    others = [
        parse_images(folder / FOLDERS[split], _ANY, "anything", {"split": split, "person_id": None})
        for split in ("query", "gallery")
    ]
    table = pd.concat([train, *(rows.drop(columns="name") for rows in others)], ignore_index=True)
    file = Path(attributes).expanduser() if attributes else folder / ANNOTATIONS
    if attributes or file.is_file():
        _compare_people(train["person_id"], file)
        table = table.assign(attribute_file=str(file), attribute_subset=True)
    else:
        log.warning("%s has no %s: no attributes are known", folder, ANNOTATIONS)
    return validate_table(table.assign(source="trento"), str(folder))


def _compare_people(people: pd.Series, file: Path) -> None:
    """Say which annotated people have no image, and which people with images are not annotated."""
    cells, _ = read_cells(file)
    column = next((name for name in IDENTITY_COLUMNS if name in cells.columns), None)
    if column is None:
        return  # an error of its own, when the attributes are joined
    annotated = set(plain_identities(identifiers(cells, column, str(file))).dropna())
    shown = set(plain_identities(people.astype("string")))
    for who, what in (
        (annotated - shown, "of the %d annotated people have no training image: their rows are not read"),
        (
            shown - annotated,
            "of the %d people of the training images are not annotated: their attributes are unknown",
        ),
    ):
        if who:
            everybody = annotated if who <= annotated else shown
            first = min(who, key=lambda name: (len(name), name))
            log.warning(f"%s: %d {what} (%s for one)", file, len(who), len(everybody), first)
