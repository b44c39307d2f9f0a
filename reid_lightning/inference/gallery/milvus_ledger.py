"""What a gallery in Milvus keeps beside its vectors: its manifest, the ids that writers have taken, and the log of removals.

They are rows of a collection of their own. Milvus has neither locks nor changes of several rows at once; rows are
therefore only added, and the newest manifest counts.
"""

import json
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.address import MilvusAddress
from reid_lightning.inference.gallery.manifest import Manifest
from reid_lightning.inference.gallery.milvus_client import asked

LONGEST = 60_000  # bytes of a text that Milvus holds
LOGGED = 100  # removed images that share a line of the log
TRIES = 20
_MANIFEST, _CLAIM, _REMOVAL = "manifest", "claim", "removal"


class Ledger:
    """The collection `NAME_ledger`.

    Args:
        client: Of pymilvus.
        address: The gallery.
    """

    def __init__(self, client: Any, address: MilvusAddress) -> None:
        self._client, self._address, self.name = client, address, f"{address.name}_ledger"

    @property
    def is_there(self) -> bool:
        """Whether the gallery has been made."""
        with asked(self._address):
            return bool(self._client.has_collection(self.name))

    def create(self) -> None:
        """Make it."""
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=True, enable_dynamic_field=False)
        schema.add_field("entry", DataType.INT64, is_primary=True)
        schema.add_field("kind", DataType.VARCHAR, max_length=20)
        schema.add_field("number", DataType.INT64)
        schema.add_field("count", DataType.INT64)
        schema.add_field("content", DataType.VARCHAR, max_length=65_535)
        schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)  # every collection has vectors
        index = self._client.prepare_index_params()
        index.add_index("unused", index_type="FLAT", metric_type="L2")
        with asked(self._address):
            self._client.create_collection(
                self.name, schema=schema, index_params=index, consistency_level="Strong"
            )

    def manifest(self) -> Manifest:
        """Return the newest manifest.

        Raises:
            InputError: There is none, or it is damaged.
        """
        rows = self._rows(_MANIFEST)
        if not rows:
            raise InputError(
                f"{self._address.shown} has no manifest: restore it, or build the gallery again."
            )
        newest = min(rows, key=lambda row: (-row["number"], row["entry"]))
        return Manifest.of_text(newest["content"], f"The manifest of {self._address.shown}")

    def write_manifest(self, manifest: Manifest) -> None:
        """Add a manifest, and take away those before it."""
        if len(manifest.text.encode()) > LONGEST:
            raise InputError(
                f"{self._address.shown} has too many columns or attributes for one entry of Milvus."
            )
        self._add(_MANIFEST, manifest.change, 0, manifest.text)
        self._delete(f'kind == "{_MANIFEST}" and number < {manifest.change}')

    def claimed(self, count: int) -> NDArray[np.int64]:
        """Return (count,) ids that no other writer has or gets.

        A writer adds its claim, then looks: of two who claim at once, at least the later one sees the other, and gives way.

        Raises:
            InputError: Too many others claim at once.
        """
        for _ in range(TRIES):
            first = max((row["number"] + row["count"] for row in self._rows(_CLAIM)), default=0)
            own = self._add(_CLAIM, first, count, "")
            clashes = [
                row
                for row in self._rows(_CLAIM)
                if row["entry"] != own
                and row["number"] < first + count
                and first < row["number"] + row["count"]
            ]
            if not clashes:
                self._delete(
                    f'kind == "{_CLAIM}" and number < {first}'
                )  # the newest says where the next begins
                return np.arange(first, first + count)
            self._delete(f"entry == {own}")
            time.sleep(random.uniform(0.01, 0.2))
        raise InputError(f"{self._address.shown} is changed by too many processes at once; try again.")

    def end(self) -> int:
        """Return the id after the last one that a writer has taken."""
        return max((row["number"] + row["count"] for row in self._rows(_CLAIM)), default=0)

    def log(self, entry: dict[str, Any], ids: Sequence[int], paths: Sequence[str | None]) -> None:
        """Log a removal, a line for some images each."""
        for start in range(0, len(ids), LOGGED):
            some = slice(start, start + LOGGED)
            line = entry | {"images": len(ids[some]), "ids": list(ids[some]), "paths": list(paths[some])}
            text = json.dumps(line)
            if len(text) > LONGEST:  # endless rules or paths
                text = json.dumps(line | {"rule": {}, "paths": []})
            self._add(_REMOVAL, entry["change"], len(ids[some]), text)

    def removals(self) -> list[dict[str, Any]]:
        """Return what has been removed, the oldest first."""
        rows = sorted(self._rows(_REMOVAL), key=lambda row: row["entry"])
        return [json.loads(row["content"]) for row in rows]

    def _rows(self, kind: str) -> list[dict[str, Any]]:
        with asked(self._address):
            found: list[dict[str, Any]] = self._client.query(
                self.name,
                filter=f'kind == "{kind}"',
                output_fields=["entry", "number", "count", "content"],
                consistency_level="Strong",
            )
        return found

    def _add(self, kind: str, number: int, count: int, content: str) -> int:
        row = {"kind": kind, "number": number, "count": count, "content": content, "unused": [0.0, 0.0]}
        with asked(self._address):
            return int(self._client.insert(self.name, [row])["ids"][0])

    def _delete(self, expression: str) -> None:
        with asked(self._address):
            self._client.delete(self.name, filter=expression)
