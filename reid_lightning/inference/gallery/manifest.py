"""The manifest of a gallery: the one file that says what belongs to it, replaced as a whole at every change."""

import json
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.distances import Distance
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, read_own, remove_leftovers
from reid_lightning.inference.gallery.attributes import schema_as_dict, schema_from_dict
from reid_lightning.inference.gallery.columns import FIXED, KINDS, PROBABILITIES

FORMAT = 1
MANIFEST, LOCK, SEGMENTS = "gallery.json", ".lock", "segments"
DTYPES = ("float32", "float16")
_TYPES: dict[Any, tuple[type, str]] = {
    int: (int, "a whole number"),
    str: (str, "text"),
    dict: (dict, "an object"),
    list: (list, "a list"),
}


@dataclass(frozen=True)
class SegmentEntry:
    """Files of vectors that are never written again.

    Attributes:
        number: Names the files; no number is used twice.
        rows: Vectors in it.
        removed: How many of them have been removed.
        removed_in: The change that wrote the list of those; 0 where none has been removed.
        digests: xxh3 of each file, by its ending.
    """

    number: int
    rows: int
    removed: int
    removed_in: int
    digests: dict[str, str]

    def path(self, folder: Path, ending: str) -> Path:
        """Return a file of the segment: "npy", "squares.npy" or "parquet"."""
        return folder / SEGMENTS / f"{self.number:06}.{ending}"

    @property
    def removed_ending(self) -> str:
        """The ending of the list of removed rows."""
        return f"removed-{self.removed_in}.npy"

    @property
    def endings(self) -> tuple[str, ...]:
        """The endings of all its files."""
        own = ("npy", "squares.npy", "parquet")
        return (*own, self.removed_ending) if self.removed else own


@dataclass(frozen=True)
class IndexEntry:
    """An index of FAISS.

    Attributes:
        kind: "hnsw" or "ivf_pq".
        number: The change that wrote it, which names the file.
        rows: Vectors in it.
        up_to: It holds the vectors whose ids are below this one.
        digest: xxh3 of the file.
    """

    kind: str
    number: int
    rows: int
    up_to: int
    digest: str

    def path(self, folder: Path) -> Path:
        """Return its file."""
        return folder / SEGMENTS / f"index-{self.number}.faiss"


@dataclass(frozen=True)
class Manifest:
    """What a gallery is.

    Attributes:
        dimension: Of its vectors.
        dtype: "float32" or "float16", in which they are stored.
        distance: How they are compared.
        fingerprint: SHA-256 of the weights that they come from; "" where it is not known.
        preprocessing: How images become vectors, in one line.
        created: Time, UTC.
        change: Counts the changes.
        next_id: The id that the next image gets.
        next_segment: The number that the next segment gets.
        columns: Kind of each column of what is known about the images.
        attributes: What people look like as the model sees it; None where it answers none.
        segments: In the order of their ids.
        index: An index, where there is one.
    """

    dimension: int
    dtype: str
    distance: Distance
    fingerprint: str
    preprocessing: str
    created: str
    change: int = 0
    next_id: int = 0
    next_segment: int = 0
    columns: dict[str, str] | None = None
    attributes: AttributeSchema | None = None
    segments: tuple[SegmentEntry, ...] = ()
    index: IndexEntry | None = None

    @property
    def kinds(self) -> dict[str, str]:
        """Kind of every column, those that each gallery has among them."""
        answers = {} if self.attributes is None else {PROBABILITIES: "numbers"}
        return FIXED | (self.columns or {}) | answers

    @property
    def asked(self) -> dict[str, str]:
        """Kind of every column that conditions may name."""
        return {name: kind for name, kind in self.kinds.items() if kind != "numbers"}

    @property
    def files(self) -> set[str]:
        """Names of the files in the folder of segments that belong to it."""
        names = {entry.path(Path(), ending).name for entry in self.segments for ending in entry.endings}
        return names if self.index is None else names | {self.index.path(Path()).name}

    def changed(self, **values: Any) -> "Manifest":
        """Return the manifest after one more change."""
        return replace(self, change=self.change + 1, **values)

    @property
    def text(self) -> str:
        """It as JSON, which `of_text` reads."""
        content = {"format": FORMAT, **asdict(self), "attributes": schema_as_dict(self.attributes)}
        return json.dumps(content, indent=1) + "\n"

    def write(self, folder: Path) -> None:
        """Replace the gallery's manifest atomically."""
        with atomic_path(folder / MANIFEST) as temporary:
            temporary.write_text(self.text)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a gallery.

        Raises:
            InputError: The folder is not a gallery, or its manifest is damaged or of a newer version.
        """
        path = folder / MANIFEST
        try:
            content = read_own(path)
        except (FileNotFoundError, NotADirectoryError):
            what = (
                f"{folder} is not a gallery: it has no {MANIFEST}"
                if folder.exists()
                else f"There is no {folder}"
            )
            raise InputError(f"{what}; make a gallery with `reid gallery build`.") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error
        return cls.of_text(content, str(path))

    @classmethod
    def of_text(cls, text: str | bytes, origin: str) -> "Manifest":
        """Return the manifest that a text holds, from any source.

        Args:
            text: JSON.
            origin: What messages call it.

        Raises:
            InputError: It is damaged or of a newer version.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{origin} is damaged (it is not JSON); restore it from a copy.") from error
        if isinstance(content, dict) and type(content.get("format")) is int and content["format"] > FORMAT:
            raise InputError(f"{origin} was written by a newer version of reid-lightning; update this one.")
        try:
            return _manifest(content)
        except ValueError as error:
            raise InputError(f"{origin} is not the manifest of a gallery ({error}).") from error


def _manifest(content: Any) -> Manifest:
    content = _of(content, dict, "the file")
    if content.get("format") != FORMAT:
        raise ValueError(f"its format is {content.get('format')!r}")
    segments = [
        _values(
            SegmentEntry,
            {"number": int, "rows": int, "removed": int, "removed_in": int, "digests": dict},
            entry,
        )
        for entry in _of(content.get("segments"), list, "segments")
    ]
    numbers = [entry["number"] for entry in segments]
    if len(set(numbers)) < len(numbers):
        raise ValueError("two segments have one number")
    for entry in segments:
        if entry["rows"] < 1 or entry["removed"] > entry["rows"]:
            raise ValueError(
                f"segment {entry['number']} has {entry['removed']} of {entry['rows']} rows removed"
            )
        if any(type(digest) is not str for digest in entry["digests"].values()):
            raise ValueError("a digest is not text")
    index = content.get("index")
    if index is not None:
        kinds = {"kind": str, "number": int, "rows": int, "up_to": int, "digest": str}
        index = IndexEntry(**_values(IndexEntry, kinds, index))
    columns = _of(content.get("columns") or {}, dict, "columns")
    if wrong := [
        name
        for name, kind in columns.items()
        if type(kind) is not str or kind not in set(KINDS) - {"numbers"} or name in FIXED
    ]:
        raise ValueError(f"the column {wrong[0]} has no known kind")
    wanted: dict[str, type] = dict.fromkeys(
        ("dtype", "distance", "fingerprint", "preprocessing", "created"), str
    )
    wanted |= dict.fromkeys(("dimension", "change", "next_id", "next_segment"), int)
    plain = _values(Manifest, wanted, content)
    for name, choices in (("dtype", DTYPES), ("distance", get_args(Distance))):
        if plain[name] not in choices:
            raise ValueError(f"its {name} is {plain[name]}")
    if plain["dimension"] < 1:
        raise ValueError("its dimension is 0")
    return Manifest(
        **plain,
        columns=columns,
        attributes=schema_from_dict(content.get("attributes")),
        segments=tuple(SegmentEntry(**entry) for entry in segments),
        index=index,
    )


def _values(kind: type, types: dict[str, type], content: Any) -> dict[str, Any]:
    content = _of(content, dict, "an entry")
    assert set(types) <= {field.name for field in fields(kind)}
    return {name: _of(content.get(name), wanted, name) for name, wanted in types.items()}


def _of(value: Any, wanted: type, name: str) -> Any:
    """Return a value of the wanted type; whole numbers from 0 on."""
    kind, said = _TYPES[wanted]
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value < 2**62):
        raise ValueError(f"{name} is not {said}")
    return value


_OWN = re.compile(r"\d{6,}\.(npy|squares\.npy|parquet|removed-\d+\.npy)|index-\d+\.faiss")


def remove_strays(folder: Path, manifest: Manifest) -> None:
    """Remove files that killed or finished changes left beside those of the manifest; only a writer may do this."""
    segments = folder / SEGMENTS
    segments.mkdir(exist_ok=True)
    remove_leftovers(segments / "*")
    remove_leftovers(folder / MANIFEST)
    keep = manifest.files
    for path in segments.iterdir():
        if path.name not in keep and _OWN.fullmatch(path.name):
            path.unlink(missing_ok=True)
