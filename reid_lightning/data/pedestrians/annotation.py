"""What is known of the drawn people: Lin et al.'s attribute file, their height and age, and key points."""

from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io

from reid_lightning.data.attributes import MARKET12
from reid_lightning.data.pedestrians.body import KEYPOINTS
from reid_lightning.data.pedestrians.person import sample_person
from reid_lightning.data.pedestrians.plan import PERSON, Settings
from reid_lightning.files import atomic_path

# The public file's fields, in its order, which differs between the two structs.
_TEST_FIELDS = (
    "age", "backpack", "bag", "handbag", "clothes", "down", "up", "hair", "hat", "gender",
    "upblack", "upwhite", "upred", "uppurple", "upyellow", "upgray", "upblue", "upgreen",
    "downblack", "downwhite", "downpink", "downpurple", "downyellow", "downgray", "downblue", "downgreen",
    "downbrown",
)  # fmt: skip
_TRAIN_FIELDS = (
    "age", "backpack", "bag", "handbag",
    "downblack", "downblue", "downbrown", "downgray", "downgreen", "downpink", "downpurple", "downwhite",
    "downyellow", "upblack", "upblue", "upgreen", "upgray", "uppurple", "upred", "upwhite", "upyellow",
    "clothes", "down", "up", "hair", "hat", "gender",
)  # fmt: skip
_CLASSES = {attribute.name: attribute.classes for attribute in MARKET12}
#: What is measured of each person: body height in centimeters, and age in years.
TRAITS = ("height", "age_years")
_HEADER = b"MATLAB 5.0 MAT-file, generated pedestrians"


def write_attributes(path: Path, settings: Settings) -> None:
    """Write the identities' attributes in the form of the public `market_attribute.mat`.

    A struct `market_attribute` holds `test` and `train`; each has 27 rows of uint8 (classes from 1; 1 no and 2 yes)
    and `image_index`, the identities as file names write them.
    """
    structs = {}
    for name, fields, identities in (
        ("test", _TEST_FIELDS, settings.identities[1]),
        ("train", _TRAIN_FIELDS, settings.identities[0]),
    ):
        codes = [
            sample_person(np.random.default_rng([settings.seed, PERSON, int(identity)])).attributes
            for identity in identities
        ]
        rows: dict[str, np.ndarray] = {field: _field(codes, field) for field in fields}
        index = np.empty((1, len(identities)), object)
        index[0, :] = [settings.identity_name(int(identity)) for identity in identities]
        structs[name] = rows | {"image_index": index}
    scipy.io.savemat(str(path), {"market_attribute": structs})
    content = bytearray(path.read_bytes())
    content[:116] = _HEADER.ljust(116)  # the library writes the hour here, and files should repeat
    path.write_bytes(content)


def write_traits(path: Path, settings: Settings) -> None:
    """Write each identity's traits as CSV: `person_id`, as file names write it, and `TRAITS`, rounded down to tenths."""
    rows: dict[str, list[str]] = {name: [] for name in ("person_id", *TRAITS)}
    for identity in np.sort(np.concatenate(settings.identities)):
        person = sample_person(np.random.default_rng([settings.seed, PERSON, int(identity)]))
        rows["person_id"].append(settings.identity_name(int(identity)))
        for name in TRAITS:
            rows[name].append(f"{np.floor(10 * getattr(person, name)) / 10:.1f}")
    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def read_traits(path: Path, person_ids: pd.Series) -> pd.DataFrame:
    """Return the traits of each row's person, float64 columns `TRAITS`; NaN where nobody knows the person."""
    table = pd.read_csv(path, dtype={"person_id": "string"}).set_index("person_id")
    return table.loc[:, list(TRAITS)].reindex(person_ids).set_axis(person_ids.index).astype(np.float64)


def write_keypoints(path: Path, names: list[str], points: np.ndarray) -> None:
    """Write `names` (N,), `points` (N, 17, 3) and the `joints`' names (17,)."""
    np.savez(path, names=np.asarray(names), points=points, joints=np.asarray(KEYPOINTS))


def _field(codes: list[dict[str, int]], field: str) -> np.ndarray:
    """Return one row of the file, (1, identities) uint8."""
    for prefix, attribute in (("up", "upper_color"), ("down", "lower_color")):
        if field.startswith(prefix) and field != prefix:
            wanted = _CLASSES[attribute].index(field.removeprefix(prefix))
            return np.asarray([[1 + (code[attribute] == wanted) for code in codes]], np.uint8)
    return np.asarray([[1 + code[field] for code in codes]], np.uint8)
