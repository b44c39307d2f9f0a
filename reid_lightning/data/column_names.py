"""The names of a table's columns, and names that people give them elsewhere."""

import difflib
import re

import pandas as pd

from reid_lightning.errors import InputError

REQUIRED_COLUMNS = ("path", "person_id", "split")
OPTIONAL_COLUMNS = ("camera_id", "tracklet_id", "sequence_id", "frame_id", "distractor", "source")
PLAIN_COLUMNS = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS, "keypoints", "attribute_file")

# Without capitals, spaces and marks.
_ELSEWHERE = {
    "path": "image img imagepath imgpath imagefile imgfile imagename imgname file filename filepath",
    "person_id": "pid id person identity identityid personname personlabel label subject subjectid",
    "split": "subset set fold partition phase",
    "camera_id": "cam camid camera cameraname camname cameranumber",
    "tracklet_id": "tracklet track trackid tid",
    "sequence_id": "sequence seq seqid",
    "frame_id": "frame framenumber frameno",
    "distractor": "distractors isdistractor",
}
_KNOWN_AS = {word: name for name, words in _ELSEWHERE.items() for word in words.split()} | {
    name.replace("_", ""): name for name in PLAIN_COLUMNS
}


def check_names(table: pd.DataFrame, origin: str, setting: str | None = None) -> None:
    """Refuse a table whose columns cannot be told by their names.

    Args:
        table: The table.
        origin: What error messages call it.
        setting: Setting that says what a column is called, by the table's name for it; None if there is none.

    Raises:
        InputError: Two columns have one name, a column has a name that means another that is absent (`camid`,
            `Camera-ID`), or a required one is absent. A table without `person_id` is one whose people are unknown.
    """
    names = [str(name) for name in table.columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{origin} has several columns {twice}: rename or remove all but one.")
    meant: dict[str, str] = {}
    for name in names:
        known = meaning(name)
        if known is not None and known not in names:
            meant.setdefault(known, name)
    if meant:
        which = " and ".join(meant.values())
        found = f"columns {which}, which look" if len(meant) > 1 else f"a column {which}, which looks"
        pairs = ", ".join(f"{name}: {theirs}" for name, theirs in meant.items())
        settle = f", or say {setting}={{{pairs}}}" if setting else ""
        raise InputError(
            f"{origin} has {found} like {' and '.join(meant)}: rename {'them' if len(meant) > 1 else 'it'}{settle}."
        )
    missing = [name for name in REQUIRED_COLUMNS if name not in names]
    if missing and missing != ["person_id"]:
        headless = "; is its first line, which names the columns, missing?" if len(missing) == 3 else "."
        raise InputError(
            f"{origin} has no column {', '.join(missing)}: a table needs {', '.join(REQUIRED_COLUMNS)}, "
            f"and this one has {', '.join(names)}{headless}"
        )


def meaning(name: str) -> str | None:
    """Return the column that a name from elsewhere means; None where it means none, or is a column's own.

    Examples:
        >>> meaning("Camera-ID"), meaning("camid"), meaning("camra_id"), meaning("camera_id"), meaning("height")
        ('camera_id', 'camera_id', 'camera_id', None, None)
    """
    if name in PLAIN_COLUMNS:
        return None
    known = _KNOWN_AS.get(re.sub(r"[\W_]", "", name).lower())
    # Attributes are anyone's and may be written with capitals: PA-100K has a Backpack.
    close = [] if known else difflib.get_close_matches(name, PLAIN_COLUMNS, n=1, cutoff=0.8)
    return known or (close[0] if close else None)
