"""Files that say which attributes a person has: reading them, joining them to a table, and writing in their form."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from reid_lightning.data.annotation_cells import read_cells
from reid_lightning.data.attributes import MARKET12, UNKNOWN, Attribute, AttributeSchema
from reid_lightning.data.cells import identifiers
from reid_lightning.errors import InputError

log = logging.getLogger("reid_lightning")

IDENTITY_COLUMNS = ("id", "image_index", "person_id")


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

    A column is an attribute or a yes-no column of one of its classes, such as `upblack`; nobody's yes is class 0. Columns
    are found by name, others are passed over. A file codes from 1, unless more of its values are codes from 0; which, is
    logged. An empty cell is unknown.

    Args:
        path: A `.mat` that holds a struct of the structs `train` and `test`, or a `.csv`. The identities stand in
            `image_index` or `id`.
        schema: The attributes to find.

    Raises:
        InputError: The file cannot be read, lacks a column, holds a value outside its range, says two colors at once,
            or names an identity twice; the message names row and column.
    """
    path = Path(path).expanduser()
    raw, places = read_cells(path)
    identity = next((name for name in IDENTITY_COLUMNS if name in raw.columns), None)
    if identity is None:
        raise InputError(f"{path} has no column id: it has {', '.join(map(str, raw.columns))}.")
    columns = _columns(raw, schema, path)
    values = _integers(raw[columns], path, places)
    form = AttributeForm(tuple(columns), _first_code(values, schema), identity)
    codes = _codes(values - form.first, form, schema, path, places)
    codes.index = pd.Index(_identities(raw[identity], path, places), name="identity")
    log.info("%s: %d identities, %d columns coded from %d", path, len(codes), len(columns), form.first)
    return AttributeFile(codes, places, form)


def join_attributes(
    table: pd.DataFrame, path: str | Path, schema: AttributeSchema = MARKET12
) -> pd.DataFrame:
    """Add a file's attributes to the images of its identities.

    Identities join with or without leading zeros. Images of others (distractors, for one) have unknown attributes. The
    column `attribute_file` remembers the file, whose form predictions are written in; a `.mat` that knows none of the
    schema's attributes came along with the images, and is passed over.

    Where a column `attribute_subset` is true, the images may be those of a part of the identities.

    Raises:
        InputError: The file cannot be used, or names an identity without any image: all of them where a part will do.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() == ".mat" and not _knows(read_cells(path)[0], schema):
        log.warning("%s has no attribute of %s: none is known of these images", path, schema.name)
        return table.drop(columns="attribute_file", errors="ignore")
    file = read_attributes(path, schema)
    identities = plain_identities(table["person_id"])
    strangers = np.flatnonzero(~file.codes.index.isin(identities))
    subset = "attribute_subset" in table.columns and bool(table["attribute_subset"].all())
    if len(strangers) > (len(file.codes) - 1 if subset else 0):
        more = f" (and {len(strangers) - 1} more of {len(file.codes)})" if len(strangers) > 1 else ""
        raise InputError(
            f"{path}, {file.places[strangers[0]]}, column {file.form.identity_column}: identity "
            f"{file.codes.index[strangers[0]]}{more} has no image; remove the row, or check that file and images belong "
            "together."
        )
    rows = file.codes.reindex(identities)
    joined = {name: rows[name].mask(rows[name] == UNKNOWN).astype("Int64").array for name in rows.columns}
    file_column = pd.Series(str(path), table.index, dtype="string")
    return table.assign(**joined, attribute_file=file_column)


def _knows(raw: pd.DataFrame, schema: AttributeSchema) -> bool:
    """Tell whether a file has a column of any attribute."""
    return any(
        name in raw.columns for attribute in schema for name in (attribute.name, *_yes_no_columns(attribute))
    )


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


def _sizes(columns: Sequence[str], schema: AttributeSchema) -> dict[str, int]:
    """Return the number of values that each column may have."""
    meanings = {name: _meaning(name, schema) for name in columns}
    return {name: schema.sizes[place] if wanted is None else 2 for name, (place, wanted) in meanings.items()}


def _integers(values: pd.DataFrame, path: Path, places: tuple[str, ...]) -> pd.DataFrame:
    """Return nullable integers; an empty cell is missing."""
    numbers = values.apply(pd.to_numeric, errors="coerce").astype("Float64")
    _refuse(values.notna() & ~(numbers % 1 == 0).fillna(False), values, path, places, "is not a whole number")
    return numbers.astype("Int64")


def _first_code(values: pd.DataFrame, schema: AttributeSchema) -> int:
    """Return 1 or 0: the coding that more values agree with, so that a wrong value does not decide."""
    sizes = _sizes(list(values.columns), schema)
    from_0, from_1 = (
        sum(int(values[name].between(first, first + size - 1).sum()) for name, size in sizes.items())
        for first in (0, 1)
    )
    return int(from_1 >= from_0)


def _codes(
    values: pd.DataFrame, form: AttributeForm, schema: AttributeSchema, path: Path, places: tuple[str, ...]
) -> pd.DataFrame:
    """Return the class of each attribute, -1 where unknown, of values counted from 0."""
    sizes = _sizes(form.columns, schema)
    outside = pd.DataFrame(
        {name: (values[name] < 0) | (values[name] >= size) for name, size in sizes.items()}
    )
    ranges = {name: f"is not within {form.first}..{form.first + size - 1}" for name, size in sizes.items()}
    _refuse(outside.fillna(False), values + form.first, path, places, ranges)
    codes = {}
    for attribute in schema:
        if attribute.name in values.columns:
            codes[attribute.name] = values[attribute.name].fillna(UNKNOWN)
            continue
        yes = values[_yes_no_columns(attribute)]
        several = np.flatnonzero((yes.sum(axis=1) > 1).to_numpy(dtype=bool))
        if len(several):
            named = [name for name in yes.columns if yes[name].iloc[several[0]] == 1]
            raise InputError(
                f"{path}, {places[several[0]]}, columns {' and '.join(named)}: all are yes, but at most one may be."
            )
        picked = (yes.fillna(0).to_numpy(np.int64) * np.arange(1, yes.shape[1] + 1)).sum(axis=1)
        codes[attribute.name] = pd.Series(picked, yes.index).mask(yes.isna().any(axis=1), UNKNOWN)
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


def _identities(raw: pd.Series, path: Path, places: tuple[str, ...]) -> pd.Series:
    """Return the file's identities; refuse gaps and repetitions."""
    plain = plain_identities(identifiers(raw.to_frame(), str(raw.name), str(path)))
    _refuse(plain.isna().to_frame(raw.name), raw.to_frame(), path, places, "is not an identity")
    _refuse(plain.duplicated().to_frame(raw.name), raw.to_frame(), path, places, "stands there a second time")
    return plain


def plain_identities(identities: pd.Series) -> pd.Series:
    """Return identities as text without leading zeros: 0002 and 2 are one."""
    return identities.str.replace(r"^0+(?=\d)", "", regex=True)
