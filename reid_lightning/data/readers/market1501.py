"""Market-1501 and data sets laid out like it (Zheng et al., "Scalable Person Re-identification", 2015)."""

import re
from pathlib import Path

import pandas as pd

from reid_lightning.data.readers.image_files import ENDING
from reid_lightning.data.readers.layout import find_folder, parse_images
from reid_lightning.data.table import validate_table
from reid_lightning.errors import InputError

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
INNER_FOLDER = "Market-1501-v15.09.15"
ATTRIBUTE_FILE = "market_attribute.mat"

# Identity, camera, sequence, frame, box; DukeMTMC-reID has `0001_c2_f0046182.jpg` (frame), and CUHK03-NP
# `0001_c1_22.png` (number of the image). Market-1501's archive holds some names with a doubled `.jpg.jpg`.
_NAME = re.compile(
    r"(?P<person_id>-1|\d{4,})_c(?P<camera_id>\d+)"
    r"(?:s(?P<sequence_id>\d+)_(?P<frame_id>\d{6,})_\d{2,}|_f(?P<duke_frame>\d+)|_\d+)"
    r"(?:\.jpg)?" + ENDING,
    re.IGNORECASE,
)


def read_market1501(root: str | Path, attributes: str | Path | None = None) -> pd.DataFrame:
    """Read the folders `bounding_box_train`, `query` and `bounding_box_test` into one table.

    Names mean identity, camera, sequence, frame and box: `0001_c1s1_001051_00.jpg`. Junk (identity -1) is
    left out; distractors (identity 0000) stay in the gallery as negatives. Other files, such as `Thumbs.db`,
    are passed over. DukeMTMC-reID's names and CUHK03-NP's are read too.

    Args:
        root: The folder that holds these three, or the one that holds `Market-1501-v15.09.15`.
        attributes: File of the identities' attributes, a `market_attribute.mat` or CSV, which the column
            `attribute_file` then names. None: the `market_attribute.mat` in or beside the folder, where there is one.

    Returns:
        A table sorted by split (train, query, gallery) and file name: 12,936, 3,368 and 15,913 rows for the
        published data set.

    Raises:
        InputError: A folder is missing or empty, or an image's name does not parse.
    """
    folder = find_folder(root, list(FOLDERS.values()), [INNER_FOLDER])
    frames = [_read_folder(folder / name, split) for split, name in FOLDERS.items()]
    table = pd.concat(frames, ignore_index=True).assign(source="market1501")
    if (table["frame_id"].notna() & table["sequence_id"].isna()).any():
        table["protocol"] = "named like DukeMTMC-reID, which its authors have withdrawn"
    beside = [parent / ATTRIBUTE_FILE for parent in (folder, folder.parent)]
    file = attributes or next((path for path in beside if path.is_file()), None)
    return validate_table(table if file is None else table.assign(attribute_file=str(file)), str(folder))


def _read_folder(folder: Path, split: str) -> pd.DataFrame:
    example = "0001_c1s1_001051_00.jpg (identity, camera, sequence, frame, box)"
    rows = parse_images(folder, _NAME, example)
    rows = rows[rows["person_id"] != "-1"]
    if rows.empty:
        raise InputError(f"{folder} holds no images named like 0001_c1s1_001051_00.jpg.")
    distractors = [name for name in rows["person_id"].unique() if int(name) == 0]
    frame = rows["frame_id"].where(rows["frame_id"].notna(), rows["duke_frame"])
    rows = rows.assign(split=split, frame_id=frame, distractor=rows["person_id"].isin(distractors))
    return rows.drop(columns="duke_frame")
