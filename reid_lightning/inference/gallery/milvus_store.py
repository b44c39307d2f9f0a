"""The store of a gallery in Milvus: a server that many machines share, or a file of Milvus Lite for one process."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from reid_lightning.data.cells import is_unicode
from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.address import MilvusAddress
from reid_lightning.inference.gallery.attributes import Wish
from reid_lightning.inference.gallery.columns import FIXED, PROBABILITIES, full
from reid_lightning.inference.gallery.conditions import All, Condition, OneOf
from reid_lightning.inference.gallery.index import EXACT_UP_TO, TITLES, IndexChoice
from reid_lightning.inference.gallery.manifest import Manifest
from reid_lightning.inference.gallery.milvus_client import LOOKS, VECTOR, as_rows, as_table, asked, client
from reid_lightning.inference.gallery.milvus_filters import expression, key
from reid_lightning.inference.gallery.milvus_ledger import Ledger
from reid_lightning.inference.gallery.milvus_search import MilvusSearch, lists_of
from reid_lightning.inference.gallery.search import Hits, Search
from reid_lightning.inference.gallery.store import (
    Removal,
    Store,
    already_there,
    numbered,
    require_all,
    rows_to_add,
)

SENT = 16 << 20  # bytes of vectors in one request; servers take up to 64 MB
PAGE = 8192  # ids that one request reads; servers answer up to 16,384 rows
NAMED = 1000  # ids in one condition
INDEXES = {"none": "FLAT", "ivf_flat": "IVF_FLAT", "hnsw": "HNSW"}
LINKS, EXPLORED = 32, 200


class MilvusStore(Store):
    """A gallery in Milvus, as it is now: collections `NAME` for vectors and `NAME_ledger` for what belongs to all of them.

    An addition is not one change: readers may see a part of it meanwhile, and one that is killed leaves a part behind, which
    the same `reid gallery add` completes.

    Args:
        address: Of the gallery.

    Raises:
        InputError: There is none, or Milvus does not answer.
    """

    def __init__(self, address: MilvusAddress) -> None:
        self.address, self._place = address.shown, address
        if not self.is_there(address):
            raise InputError(f"There is no gallery {self.address}; make one with `reid gallery build`.")
        self._client = client(address)
        self._ledger = Ledger(self._client, address)
        with asked(address):
            self._client.load_collection(self._ledger.name)
            self._client.load_collection(address.name)
        self._manifest = self._ledger.manifest()

    @staticmethod
    def is_there(address: MilvusAddress) -> bool:
        """Return whether a gallery lies there."""
        if address.is_lite and not os.path.exists(address.uri):
            return False
        return Ledger(client(address), address).is_there

    @classmethod
    def create(cls, address: MilvusAddress, manifest: Manifest) -> "MilvusStore":
        """Make an empty gallery.

        Raises:
            InputError: The name is taken, or Milvus refuses.
        """
        if manifest.dtype != "float32":
            raise InputError("A gallery in Milvus holds float32; leave --dtype out.")
        own = client(address)
        ledger = Ledger(own, address)
        if ledger.is_there:
            raise already_there(address.shown)
        with asked(address):
            if own.has_collection(address.name):
                raise InputError(f"{address.shown} is a collection of another program; choose another name.")
            schema, index = _schema(own, manifest)
            own.create_collection(address.name, schema=schema, index_params=index, consistency_level="Strong")
        ledger.create()
        ledger.write_manifest(manifest)
        return cls(address)

    def __len__(self) -> int:
        return self._counted(None)

    @property
    def manifest(self) -> Manifest:
        """What the gallery is: dimension, distance, model and columns."""
        return self._manifest

    @property
    def removals(self) -> list[dict[str, Any]]:
        """What has been removed, a dictionary for at most 100 images, the oldest first."""
        return self._ledger.removals()

    def info(self) -> dict[str, Any]:
        """Return which Milvus holds the gallery, and how it is searched."""
        kind = self._search().kind
        how = "exact" if kind == "none" else f"approximate by {TITLES[kind]}"
        with asked(self._place):
            server = self._client.get_server_version()
        return {"milvus": server, "search": f"{how}, in Milvus", "changes": self._manifest.change}

    def state(self) -> object:
        """Return the number of the newest manifest."""
        return self._ledger.manifest().change

    def refresh(self) -> None:
        """Read the columns that others have added."""
        self._manifest = self._ledger.manifest()

    def add(self, vectors: NDArray[np.float32], table: pd.DataFrame) -> NDArray[np.int64]:
        """Add images; on an error those that were sent are taken away again. See `Gallery.add`."""
        known = self._with_columns(table)
        schema = self._manifest.attributes
        ids = self._ledger.claimed(len(vectors))
        known = numbered(known, ids)
        step = max(1, SENT // (4 * vectors.shape[1]))
        try:
            for start in range(0, len(vectors), step):
                some = known.slice(start, step)
                rows = as_rows(
                    vectors[start : start + step], some, None if schema is None else schema.num_outputs
                )
                with asked(self._place):
                    self._client.insert(self._place.name, rows)
        except BaseException:
            self._delete(ids)
            raise
        self._flush()
        return ids

    def remove(self, removal: Removal, compact: bool) -> int:
        """Remove images, log them, and return how many; see `Gallery.remove`."""
        conditions = removal.conditions
        for column, values in removal.named.items():
            self._require(column, values)
            conditions.append(OneOf(column, tuple(values)))
        found = self.where(All(tuple(conditions)), ["id", "path"])
        ids, paths = found["id"].to_numpy(), found["path"].to_pylist()
        entry = removal.entry(self._manifest.change)
        for start in range(0, len(ids), NAMED):
            some = slice(start, start + NAMED)
            self._delete(ids[some])
            self._ledger.log(entry, ids[some].tolist(), paths[some])
        if compact and len(ids):
            self.compact()
        return len(ids)

    def compact(self) -> None:
        """Ask Milvus to take removed vectors out of its files, which it does in its own time."""
        self._flush()
        with asked(self._place):
            self._client.compact(self._place.name)

    def join_small(self) -> None:
        """Do nothing: Milvus joins small segments itself."""

    def index(self, kind: IndexChoice) -> str | None:
        """Have Milvus build an index, or search without one; see `Gallery.index`."""
        before, count = self._search().kind, len(self)
        if kind == "auto":
            kind = "ivf_flat" if before == "none" and count > EXACT_UP_TO else before  # type: ignore[assignment]
        if kind not in INDEXES:
            raise InputError(f"Milvus has no index {kind} here; choose one of auto, {', '.join(INDEXES)}.")
        if kind != before:
            params = {
                "ivf_flat": {"nlist": lists_of(count)},
                "hnsw": {"M": LINKS, "efConstruction": EXPLORED},
            }
            with asked(self._place):
                name = self._place.name
                self._client.release_collection(name)
                self._client.drop_index(name, VECTOR)
                index = self._client.prepare_index_params()
                index.add_index(
                    VECTOR,
                    index_type=INDEXES[kind],
                    metric_type=_metric(self._manifest),
                    params=params.get(kind, {}),
                )
                self._client.create_index(name, index)
                self._client.load_collection(name)
        return None if kind == "none" else kind

    def check(self) -> None:
        """Compare nothing: Milvus checks its own files."""

    def search(
        self,
        queries: NDArray[np.float32],
        top: int,
        condition: Condition | None,
        search: Search,
        rerank: bool,
        wish: Wish | None,
    ) -> Hits:
        """Return the nearest images of each query (Q, D); see `Gallery.search`."""
        return self._search().nearest(queries, top, condition, search, rerank, wish)

    def search_by_attributes(self, top: int, condition: Condition | None, wish: Wish) -> Hits:
        """Return the images that have wanted attributes with the most certainty."""
        return self._search().by_attributes(top, condition, wish)

    def take(self, ids: NDArray[np.int64]) -> pa.Table:
        """Return what is known of some images, in the order of `ids`.

        Raises:
            InputError: An id is not in the gallery.
        """
        found = {row["id"]: row for row in self._named(ids, self._fields(None))}
        require_all(self.address, "id", ids.tolist(), found)
        return as_table(
            [found[number] for number in ids.tolist()], self._manifest.kinds, list(self._manifest.kinds)
        )

    def where(self, condition: Condition | None, columns: Sequence[str] | None = None) -> pa.Table:
        """Return what is known of all images that fulfill a condition, in the order of their ids."""
        kinds = self._manifest.kinds
        names = list(kinds) if columns is None else list(columns)
        pages = [as_table(rows, kinds, names) for rows in self._pages(condition, columns)]
        return pa.concat_tables(pages) if pages else full(pa.table({}), {name: kinds[name] for name in names})

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the (n, D) vectors of images that are there, in float32."""
        found = {row["id"]: row[VECTOR] for row in self._named(np.unique(ids), ["id", VECTOR])}
        rows = [found[number] for number in ids.tolist()]
        return np.asarray(rows, np.float32).reshape(len(ids), self._manifest.dimension)

    def _search(self) -> MilvusSearch:
        return MilvusSearch(self._client, self._place, self._manifest, self.vectors)

    def _with_columns(self, table: pd.DataFrame) -> pa.Table:
        """Return a table in the gallery's types; columns that are new become the gallery's, for all writers."""
        while True:
            self.refresh()
            rows, new = rows_to_add(table, self._manifest)
            if not new:
                return rows
            columns = (self._manifest.columns or {}) | new
            self._ledger.write_manifest(self._manifest.changed(columns=columns))

    def _require(self, column: str, values: Sequence[Any]) -> None:
        """Refuse values that no image has."""
        there: set[Any] = set()
        possible = [value for value in values if not isinstance(value, str) or is_unicode(value)]
        for start in range(0, len(possible), NAMED):
            some = OneOf(column, tuple(possible[start : start + NAMED]))
            there |= set(self.where(some, [column])[column].to_pylist())
        require_all(self.address, column, values, there)

    def _pages(
        self, condition: Condition | None, columns: Sequence[str] | None
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield rows by ranges of their ids, which no limit of an answer cuts off."""
        test, fields = expression(condition), self._fields(columns)
        for first in range(0, self._ledger.end(), PAGE):
            within = f"id >= {first} and id < {first + PAGE} and {test}"
            rows = self._query(within, fields)
            if rows:
                yield sorted(rows, key=lambda row: row["id"])

    def _named(self, ids: NDArray[np.int64], fields: Sequence[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for start in range(0, len(ids), NAMED):
            rows += self._query(f"id in {ids[start : start + NAMED].tolist()}", fields)
        return rows

    def _fields(self, columns: Sequence[str] | None) -> list[str]:
        names = list(self._manifest.kinds) if columns is None else [*columns]
        return list(dict.fromkeys(["id", *map(key, names)]))

    def _counted(self, condition: Condition | None) -> int:
        return int(self._query(expression(condition), ["count(*)"])[0]["count(*)"])

    def _query(self, test: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        with asked(self._place):
            found: list[dict[str, Any]] = self._client.query(
                self._place.name, filter=test, output_fields=list(fields), consistency_level="Strong"
            )
        return found

    def _delete(self, ids: NDArray[np.int64]) -> None:
        for start in range(0, len(ids), NAMED):
            with asked(self._place):
                self._client.delete(self._place.name, ids=ids[start : start + NAMED].tolist())

    def _flush(self) -> None:
        """Have Milvus Lite write its segments, which it searches far faster; a server does this by itself."""
        if self._place.is_lite:
            with asked(self._place):
                self._client.flush(self._place.name)


def _metric(manifest: Manifest) -> str:
    return "COSINE" if manifest.distance == "cosine" else "L2"


def _schema(own: Any, manifest: Manifest) -> tuple[Any, Any]:
    """Return the fields of the collection of vectors, and its indexes. Further columns are dynamic fields."""
    from pymilvus import DataType

    types = {"text": DataType.VARCHAR, "integer": DataType.INT64, "time": DataType.INT64}
    schema = own.create_schema(auto_id=False, enable_dynamic_field=True)
    index = own.prepare_index_params()
    for name, kind in FIXED.items():
        length = {"max_length": 65_535} if kind == "text" else {}
        schema.add_field(name, types[kind], is_primary=name == "id", nullable=name != "id", **length)
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=manifest.dimension)
    index.add_index(VECTOR, index_type="FLAT", metric_type=_metric(manifest))
    if manifest.attributes is not None:
        outputs = manifest.attributes.num_outputs
        schema.add_field(
            PROBABILITIES,
            DataType.ARRAY,
            element_type=DataType.FLOAT,
            max_capacity=outputs,
            nullable=True,
        )
        schema.add_field(LOOKS, DataType.FLOAT_VECTOR, dim=outputs)
        index.add_index(LOOKS, index_type="FLAT", metric_type="IP")
    return schema, index
