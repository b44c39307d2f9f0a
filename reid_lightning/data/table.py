"""The table: one pandas row an image, the form that every data set takes before anything else happens.

| column | type | meaning |
|---|---|---|
| `path` | string | image file |
| `person_id` | string or missing | identity, unique within its `source`; missing where it is not known who it is |
| `split` | string | `train`, `val`, `query` or `gallery` |
| `camera_id` | string or missing | camera, unique within its `source` |
| `tracklet_id` | string or missing | images of one walk past one camera |
| `sequence_id` | string or missing | recording that `frame_id` counts in |
| `frame_id` | integer or missing | frame number |
| `distractor` | bool | nobody's image: a negative for every query (set only by a reader that knows) |
| `source` | string | data set the row comes from |
| attribute names | integer or missing | class code, see `attributes.AttributeSchema` |
| `attribute_file` | string or missing | file of the identities' attributes, one for a `source`, see `annotations` |
| `attribute_subset` | bool | whether that file may name identities without an image; missing: it may not |
| `keypoints` | string or missing | file with body key points |
| `protocol` | string or missing | how the data set was split; a result names it, see `describe_protocols` |
| any other | anything | kept as it stands, missing where a source has no such column, see `numbers_of` |

A reader is a function that returns such a table. Images of unknown people stay in it: a training on identities leaves
them out, and so does a ranking, in which they are neither right nor wrong (junk). A `person_id` of -1, which is what
Market-1501 calls its junk, is unknown too. The columns that are attributes are joined and checked when a run puts its
tables together.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from reid_lightning.data.annotations import join_attributes
from reid_lightning.data.attributes import MARKET12, AttributeSchema
from reid_lightning.data.cells import booleans, column, identifiers, integers, refuse, texts
from reid_lightning.data.column_names import OPTIONAL_COLUMNS, REQUIRED_COLUMNS, check_names
from reid_lightning.errors import InputError

SPLITS = ("train", "val", "query", "gallery")
_NOT_ATTRIBUTES = (
    *REQUIRED_COLUMNS,
    *OPTIONAL_COLUMNS,
    "keypoints",
    "protocol",
    "attribute_file",
    "attribute_subset",
)
UNKNOWN = "-1"  # an empty cell says the same
NOBODY = "distractor"  # the name of a distractor that has none


def validate_table(table: pd.DataFrame, origin: str = "the table") -> pd.DataFrame:
    """Return the table in its full form: every column present, typed and checked; rows keep their order.

    Args:
        table: At least `path`, `person_id` and `split`. Identities and cameras may be strings or numbers.
        origin: File or data set that error messages name; it is also the `source` where none is given.

    Raises:
        InputError: A column is absent, twice there or named like a known one, a value cannot be used (named by row,
            counted from 1), or one file shows two people.

    Examples:
        >>> rows = {"path": ["a.jpg", "b.jpg"], "person_id": [7, 7], "split": ["query", "gallery"]}
        >>> validate_table(pd.DataFrame(rows), "album")[["person_id", "split", "distractor"]].values.tolist()
        [['7', 'query', False], ['7', 'gallery', False]]
    """
    check_names(table, origin)
    if table.empty:
        raise InputError(f"{origin} holds no images.")
    table = table.reset_index(drop=True)
    columns: dict[str, pd.Series] = {"path": texts(table, "path", origin)}
    for name in ("person_id", "split", "camera_id", "tracklet_id", "sequence_id"):
        names = identifiers(table, name, origin)
        columns[name] = names.mask(names == UNKNOWN)
    columns["split"] = columns["split"].str.lower()
    for name in ("path", "split"):
        refuse(table, columns[name].isna().to_numpy(bool), origin, f"{name} is empty")
    stray = ~columns["split"].isin(SPLITS).to_numpy(bool)
    refuse(table, stray, origin, f"split is not one of {', '.join(SPLITS)}", "split")
    columns["frame_id"] = integers(table, "frame_id", origin)
    columns["distractor"] = booleans(table, "distractor", origin)
    misplaced = (columns["distractor"] & (columns["split"] != "gallery")).to_numpy(bool)
    refuse(table, misplaced, origin, "a distractor belongs to the gallery")
    people, nobody = columns["person_id"], columns["distractor"]
    columns["person_id"] = people.mask(people.isna() & nobody, NOBODY)
    columns["source"] = identifiers(table, "source", origin).fillna(origin)
    for name in ("keypoints", "attribute_file"):
        if name in table.columns:
            columns[name] = texts(table, name, origin)
    _refuse_two_people(columns["path"], columns["person_id"], origin)
    shown = set(people[~nobody].dropna())
    named = (columns["person_id"].isin(shown) & nobody).to_numpy(bool)
    refuse(table, named, origin, "it is a distractor, but other rows with its person_id are not")
    extra = {name: table[name] for name in table.columns if name not in columns}
    return pd.DataFrame(columns | extra)


def concatenate_tables(
    tables: Mapping[str, pd.DataFrame], schema: AttributeSchema = MARKET12
) -> pd.DataFrame:
    """Put several data sets under each other; `source` keeps their identities and cameras apart.

    Args:
        tables: The tables by the name that becomes their `source`.
        schema: The attributes. A table has them as columns, or names their file in `attribute_file`.

    Raises:
        InputError: A table or its attribute file cannot be used, a value is not the code of a class, or the names of two
            data sets would let people of both be taken for one.

    Examples:
        >>> rows = pd.DataFrame({"path": ["a.jpg"], "person_id": [7], "split": ["train"]})
        >>> both = concatenate_tables({"album": rows, "shop": rows})
        >>> identity_keys(both).tolist()
        ['album/7', 'shop/7']
    """
    if not tables:
        raise InputError("No data set is chosen: give at least one, as in `data=market1501`.")
    for name in tables:
        inside = next((other for other in tables if other.startswith(f"{name}/")), None)
        if inside is not None:
            raise InputError(
                f"data.sources has {name} and {inside}: the keys SOURCE/PERSON of their people can be the same; give one "
                "of the two another name."
            )
    checked = [
        _with_attributes(validate_table(table, name), schema).assign(source=name)
        for name, table in tables.items()
    ]
    merged = pd.concat(checked, ignore_index=True)
    return merged.astype({"source": "string"})


def identity_keys(table: pd.DataFrame) -> pd.Series:
    """Return `source/person_id` of each row, which is unique over all sources, missing where the person is unknown."""
    return table["source"] + "/" + table["person_id"]


def camera_keys(table: pd.DataFrame) -> pd.Series:
    """Return `source/camera_id` of each row, missing where the camera is."""
    return table["source"] + "/" + table["camera_id"]


def describe_table(table: pd.DataFrame) -> pd.DataFrame:
    """Count images, identities, cameras and distractors of each split (distractors are not identities).

    Where people are unknown, their images are counted too.

    Returns:
        A row per split that occurs, in the order train, val, query, gallery.
    """
    counts = {}
    table = table[["split", "source", "person_id", "camera_id", "distractor"]]
    for split in SPLITS:
        rows = table[table["split"] == split]
        if len(rows):
            counts[split] = {
                "images": len(rows),
                "identities": identity_keys(rows[~rows["distractor"]]).nunique(),
                "cameras": camera_keys(rows).nunique(),
                "distractors": int(rows["distractor"].sum()),
            }
            if table["person_id"].isna().any():
                counts[split]["unknown"] = int(rows["person_id"].isna().sum())
    return pd.DataFrame.from_dict(counts, orient="index").rename_axis("split")


def numbers_of(table: pd.DataFrame, name: str) -> np.ndarray:
    """Return a column of measurements, such as a height, of tables put together: (N,) float64, NaN where unknown.

    Raises:
        InputError: No source has the column, or a value is no finite number (named by source, row in it, and image).

    Examples:
        >>> rows = pd.DataFrame({"path": ["a.jpg"], "person_id": [7], "split": ["train"]})
        >>> both = concatenate_tables({"album": rows.assign(height="171.5"), "shop": rows})
        >>> numbers_of(both, "height").tolist()
        [171.5, nan]
    """
    if name not in table.columns:
        raise InputError(f"The data has no column {name}: it has {', '.join(map(str, table.columns))}.")
    values = table[name]
    if pd.api.types.is_bool_dtype(values.dtype) or not pd.api.types.is_numeric_dtype(values.dtype):
        values = values.astype(object)
        values = values.mask(values.map(lambda value: isinstance(value, str) and not value.strip()))
        values = values.mask(values.map(lambda value: isinstance(value, bool | np.bool_)), "true or false")
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = (values.notna().to_numpy() & np.isnan(numbers)) | np.isinf(numbers)
    for source, rows in table.groupby("source", sort=False).indices.items():
        reason = f"{name} is not a finite number"
        refuse(table.iloc[rows], wrong[rows], str(source), reason, name)
    return numbers


def count_annotated(table: pd.DataFrame, schema: AttributeSchema = MARKET12) -> int:
    """Return how many identities have a known attribute.

    Examples:
        >>> rows = {"path": ["a.jpg", "b.jpg"], "person_id": [7, 8], "split": ["train", "train"], "hat": [1, None]}
        >>> count_annotated(concatenate_tables({"album": pd.DataFrame(rows)}))
        1
    """
    names = [name for name in schema.names if name in table.columns]
    return identity_keys(table[table[names].notna().any(axis=1) & ~table["distractor"]]).nunique()


def attribute_files(table: pd.DataFrame) -> list[str]:
    """Return the files that attributes are joined from."""
    return [str(file) for file in column(table, "attribute_file").dropna().unique()]


def describe_protocols(table: pd.DataFrame) -> list[str]:
    """Return a phrase for each source whose reader says how it was split.

    Examples:
        >>> rows = {"path": ["a.jpg"], "person_id": [7], "split": ["train"], "protocol": ["split 3"]}
        >>> describe_protocols(concatenate_tables({"viper": pd.DataFrame(rows)}))
        ['viper: split 3']
    """
    if "protocol" not in table.columns:
        return []
    found = table[["source", "protocol"]].dropna().drop_duplicates()
    return [f"{source}: {protocol}" for source, protocol in found.itertuples(index=False)]


def tracklet_keys(table: pd.DataFrame) -> pd.Series:
    """Return a key of each row's tracklet, unique over sources, people and cameras, missing where it is not known."""
    parts = (
        table[name].str.replace("\\", "\\\\", regex=False).str.replace("/", "\\/", regex=False)
        for name in ("person_id", "camera_id")
    )
    person, camera = parts  # a name that holds a / does not run into the next
    return table["source"] + "/" + person + "/" + camera.fillna("") + "/" + table["tracklet_id"]


def _with_attributes(table: pd.DataFrame, schema: AttributeSchema) -> pd.DataFrame:
    """Join the attributes' file, if any, and check the columns that the schema names."""
    for name in schema.names:
        if name in _NOT_ATTRIBUTES:
            raise InputError(
                f"attributes.schema {schema.name}: {name} is another column of a table; rename it."
            )
    columns, origin = {}, str(table["source"].iloc[0])
    files = attribute_files(table)
    if len(files) > 1:
        raise InputError(f"{origin} names {len(files)} attribute files, and may name one: put them into one.")
    if files:
        table = join_attributes(table, files[0], schema)
    for attribute in schema:
        if attribute.name in table.columns:
            codes = columns[attribute.name] = integers(table, attribute.name, origin)
            outside = ((codes < 0) | (codes >= len(attribute.classes))).fillna(value=False).to_numpy(bool)
            reason = f"{attribute.name} is not within 0..{len(attribute.classes) - 1}"
            refuse(table, outside, origin, reason, attribute.name)
    return table.assign(**columns)


def _refuse_two_people(paths: pd.Series, people: pd.Series, origin: str) -> None:
    """Raise for the first file of which two rows name different people."""
    repeated = np.flatnonzero(paths.duplicated(keep=False) & people.notna())
    if len(repeated):
        paths, people = paths.iloc[repeated], people.iloc[repeated]
        first = people.groupby(paths).transform("first")
        wrong = np.flatnonzero((people != first).to_numpy(bool))
        if len(wrong):
            path, person = paths.iloc[wrong[0]], people.iloc[wrong[0]]
            other = int(np.flatnonzero((paths == path).to_numpy(bool))[0])
            raise InputError(
                f"{origin}, rows {repeated[other] + 1} and {repeated[wrong[0]] + 1} name one file, {path}, but two people, "
                f"{people.iloc[other]} and {person}: correct or remove one of them."
            )
