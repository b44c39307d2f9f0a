"""Files that say which attributes a person has: reading them, joining them to a table, and writing in their form."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reid_lightning.data.attributes import MARKET12, Attribute, AttributeSchema
from reid_lightning.errors import InputError

log = logging.getLogger("reid_lightning")

IDENTITY_COLUMNS = ("id", "image_index", "person_id")
_PARTS = ("train", "test")  # structs of `market_attribute.mat`


@dataclass(frozen=True)
class AttributeForm:
    """How a file writes attributes: its columns in their order, and its coding.

    Attributes:
        columns: The file's columns but the identity's.
        first: What the file writes for a class 0, or for no: 0 or 1.
        identity_column: What it calls the identity.
    """

    columns: tuple[str, ...]
    first: int
    identity_column: str = "id"

    @classmethod
    def of_schema(cls, schema: AttributeSchema) -> "AttributeForm":
        """Return the table's own form: a column per attribute, coded from 0."""
        return cls(schema.names, 0)

    def write(self, codes: np.ndarray, schema: AttributeSchema) -> pd.DataFrame:
        """Return the file's columns for (N, attributes) class codes; an unknown class (-1) stays empty.

        Examples:
            >>> form = AttributeForm(("hat", "upblack", "upred"), first=1)
            >>> schema = AttributeSchema("s", (Attribute("hat", "hat", ("no", "yes")),
            ...                                Attribute("upper", "upper", ("none", "black", "red"), prefix="up")))
            >>> form.write(np.array([[1, 2], [0, 0]]), schema).values.tolist()
            [[2, 1, 2], [1, 1, 1]]
        """
        written = {}
        for name in self.columns:
            place, wanted = _meaning(name, schema)
            known = pd.Series(codes[:, place], dtype="Int64").mask(codes[:, place] < 0)
            written[name] = (known if wanted is None else (known == wanted).astype("Int64")) + self.first
        return pd.DataFrame(written)


@dataclass(frozen=True, eq=False)
class AttributeFile:
    """The attributes of identities.

    Attributes:
        codes: A row per identity (index: identity without leading zeros), a column per attribute of the schema, -1
            where unknown.
        places: How a message names each row.
        form: How the file writes them.
    """

    codes: pd.DataFrame
    places: tuple[str, ...]
    form: AttributeForm


def read_attributes(path: str | Path, schema: AttributeSchema = MARKET12) -> AttributeFile:
    """Read the attributes of identities from Lin et al.'s `market_attribute.mat` or from a CSV file.

    A column is an attribute (coded from 0 or from 1) or a yes-no column of one class, such as `upblack`; which
    coding a file has follows from whether any 0 occurs in it, and is logged. Columns are found by name.

    Args:
        path: `.mat` or `.csv`; the CSV's identities stand in `id`.
        schema: The attributes to find.

    Raises:
        InputError: The file cannot be read, lacks a column, holds a value outside its range, says two colours at once,
            or names an identity twice; the message names row and column.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"there is no attribute file {path}; name a market_attribute.mat or a CSV file.")
    raw, places = _read_mat(path) if path.suffix.lower() == ".mat" else _read_csv(path)
    identity = next((name for name in IDENTITY_COLUMNS if name in raw.columns), None)
    if identity is None:
        raise InputError(f"{path} has no column id: it has {', '.join(map(str, raw.columns))}.")
    columns = _columns(raw, schema, path)
    values = _integers(raw[columns], path, places)
    first = 0 if (values == 0).any(axis=None) else 1
    form = AttributeForm(tuple(columns), first, identity)
    codes = _codes(values - first, form, schema, path, places)
    codes.index = pd.Index(_plain_identities(raw[identity]), name="identity")
    repeated = np.flatnonzero(codes.index.duplicated())
    if len(repeated):
        raise InputError(
            f"{path}, {places[repeated[0]]}, column {identity}: identity {raw[identity].iloc[repeated[0]]} stands there "
            "a second time."
        )
    log.info(
        "%s: %d identities, %d columns coded from %d", path.name, len(codes), len(columns), first
    )
    return AttributeFile(codes, places, form)


def join_attributes(
    table: pd.DataFrame, path: str | Path, schema: AttributeSchema = MARKET12
) -> pd.DataFrame:
    """Add a file's attributes to the images of its identities.

    Identities join with or without leading zeros. Images of others (distractors, for one) have unknown attributes. The
    column `attribute_file` remembers the file, whose form predictions are written in.

    Raises:
        InputError: The file cannot be used, or names an identity without any image.
    """
    file = read_attributes(path, schema)
    identities = _plain_identities(table["person_id"])
    strangers = np.flatnonzero(~file.codes.index.isin(identities))
    if len(strangers):
        more = f" (and {len(strangers) - 1} more)" if len(strangers) > 1 else ""
        raise InputError(
            f"{path}, {file.places[strangers[0]]}, column {file.form.identity_column}: identity "
            f"{file.codes.index[strangers[0]]}{more} has no image; remove the row, or check that file and images belong "
            "together."
        )
    rows = file.codes.reindex(identities)
    joined = {name: rows[name].mask(rows[name] < 0).astype("Int64").array for name in rows.columns}
    return table.assign(**joined, attribute_file=str(path))


def _read_mat(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    import scipy.io

    try:
        content = scipy.io.loadmat(str(path), squeeze_me=True, struct_as_record=False)
        structs: Mapping[str, Any] = {part: getattr(content["market_attribute"], part) for part in _PARTS}
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as a market_attribute.mat, a struct of train and test: {error}."
        ) from error
    frames = []
    for part, struct in structs.items():
        fields = {name: np.atleast_1d(getattr(struct, name)) for name in struct._fieldnames}
        lengths = {name: len(values) for name, values in fields.items()}
        if len(set(lengths.values())) != 1:
            raise InputError(f"{path}, struct {part}: its fields have different lengths ({lengths}).")
        frames.append(pd.DataFrame(fields))
    places = [f"{part} identity {n + 1}" for part, f in zip(structs, frames, strict=True) for n in range(len(f))]
    missing = set(frames[0].columns) ^ set(frames[1].columns)
    if missing:
        raise InputError(f"{path}: only one of train and test has the field {', '.join(sorted(missing))}.")
    return pd.concat(frames, ignore_index=True), tuple(places)


def _read_csv(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    try:
        frame = pd.read_csv(path, dtype=str, skipinitialspace=True)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read as CSV: {str(error).strip().rstrip('.')}.") from None
    frame.columns = frame.columns.str.strip()
    if frame.empty:
        raise InputError(f"{path} holds no identities.")
    return frame, tuple(f"row {number + 1}" for number in range(len(frame)))


def _columns(raw: pd.DataFrame, schema: AttributeSchema, path: Path) -> list[str]:
    """Return the file's columns that are read, in its order."""
    wanted: list[str] = []
    for attribute in schema:
        yes_no = _yes_no_columns(attribute)
        found = [name for name in yes_no if name in raw.columns]
        if attribute.name in raw.columns:
            wanted.append(attribute.name)
        elif yes_no and found:
            missing = [name for name in yes_no if name not in raw.columns]
            if missing:
                raise InputError(f"{path} has no column {missing[0]}, but has {found[0]}.")
            wanted += yes_no
        else:
            other = f" (or {yes_no[0]}, {yes_no[1]}, ...)" if yes_no else ""
            raise InputError(f"{path} has no column {attribute.name}{other}; attributes are found by name.")
    return [name for name in raw.columns if name in wanted]


def _yes_no_columns(attribute: Attribute) -> list[str]:
    return [attribute.prefix + name for name in attribute.classes[1:]] if attribute.prefix else []


def _meaning(column: str, schema: AttributeSchema) -> tuple[int, int | None]:
    """Return the place of a column's attribute, and the class that a yes means; None for a column of classes."""
    for place, attribute in enumerate(schema):
        if column == attribute.name:
            return place, None
        if column in _yes_no_columns(attribute):
            return place, _yes_no_columns(attribute).index(column) + 1
    raise InputError(f"the column {column} belongs to no attribute of {schema.name}")


def _integers(values: pd.DataFrame, path: Path, places: tuple[str, ...]) -> pd.DataFrame:
    """Return nullable integers; an empty cell is missing."""
    numbers = values.apply(pd.to_numeric, errors="coerce").astype("Float64")
    wrong = (values.notna() & numbers.isna()) | (numbers % 1 != 0).fillna(False)
    _refuse(wrong, values, path, places, "is not a whole number")
    return numbers.astype("Int64")


def _codes(
    values: pd.DataFrame, form: AttributeForm, schema: AttributeSchema, path: Path, places: tuple[str, ...]
) -> pd.DataFrame:
    """Return the class of each attribute, -1 where unknown, of values counted from 0."""
    sizes = {}
    for name in form.columns:
        place, wanted = _meaning(name, schema)
        sizes[name] = schema.sizes[place] if wanted is None else 2
    outside = pd.DataFrame({name: (values[name] < 0) | (values[name] >= size) for name, size in sizes.items()})
    ranges = {name: f"is not within {form.first}..{form.first + size - 1}" for name, size in sizes.items()}
    _refuse(outside.fillna(False), values + form.first, path, places, ranges)
    codes = {}
    for attribute in schema:
        if attribute.name in values.columns:
            codes[attribute.name] = values[attribute.name].fillna(-1)
            continue
        yes = values[_yes_no_columns(attribute)]
        several = np.flatnonzero((yes.sum(axis=1) > 1).to_numpy(dtype=bool))
        if len(several):
            named = [name for name in yes.columns if yes[name].iloc[several[0]] == 1]
            raise InputError(
                f"{path}, {places[several[0]]}: both {named[0]} and {named[1]} are yes; at most one may be."
            )
        picked = (yes.fillna(0).to_numpy(np.int64) * np.arange(1, yes.shape[1] + 1)).sum(axis=1)
        codes[attribute.name] = pd.Series(picked, yes.index).mask(yes.isna().any(axis=1), -1)
    return pd.DataFrame(codes).astype(np.int64)


def _refuse(
    wrong: pd.DataFrame,
    values: pd.DataFrame,
    path: Path,
    places: tuple[str, ...],
    reason: str | Mapping[str, str],
) -> None:
    """Raise for the first cell marked wrong."""
    rows, columns = np.nonzero(wrong.to_numpy(dtype=bool))
    if len(rows):
        row, column = rows[0], wrong.columns[columns[0]]
        why = reason if isinstance(reason, str) else reason[column]
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        raise InputError(f"{path}, {places[row]}, column {column}: {values[column].iloc[row]} {why}{more}.")


def _plain_identities(identities: pd.Series) -> pd.Series:
    """Return identities as text without leading zeros: 0002 and 2 are one."""
    return identities.astype("string").str.strip().str.lstrip("0").replace("", "0")
