"""What a gallery asks of the place where its vectors lie, a folder or a vector database, and what both do alike."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.attributes import Wish, require_probabilities
from reid_lightning.inference.gallery.columns import FIXED, PROBABILITIES, to_arrow
from reid_lightning.inference.gallery.conditions import Condition, older_than
from reid_lightning.inference.gallery.index import IndexChoice
from reid_lightning.inference.gallery.manifest import Manifest
from reid_lightning.inference.gallery.search import Hits, Search


@dataclass(frozen=True)
class Removal:
    """Which images are to be removed: those that fulfill everything that is given.

    Attributes:
        person: Images of this person.
        ids: Images with these ids.
        paths: Images of these files.
        older_than_days: Images that were taken, or else added, longer ago.
        condition: Images that fulfill it.
        rule: The same in words, for the log.
    """

    person: str | None
    ids: Sequence[int] | None
    paths: Sequence[str] | None
    older_than_days: float | None
    condition: Condition | None
    rule: dict[str, Any]

    @property
    def conditions(self) -> list[Condition]:
        """What an image must fulfill beside its name.

        Raises:
            InputError: The age is not a number of days.
        """
        found = [] if self.condition is None else [self.condition]
        if self.older_than_days is not None:
            if not 0 <= self.older_than_days < 100_000:
                raise InputError(
                    f"An age must be a number of days from 0 to 100,000, got {self.older_than_days}."
                )
            found.append(older_than(datetime.now(UTC) - timedelta(days=self.older_than_days)))
        return found

    @property
    def named(self) -> dict[str, list[Any]]:
        """Values of which an image must have one, by column; all must be in the gallery."""
        given = {
            "person_id": None if self.person is None else [self.person],
            "id": self.ids,
            "path": self.paths,
        }
        return {column: list(values) for column, values in given.items() if values is not None}

    def entry(self, change: int) -> dict[str, Any]:
        """Return the line of the log, without the images."""
        return {
            "change": change,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "rule": self.rule,
        }


class Store(Protocol):
    """Where a gallery's vectors lie. `Gallery` checks what it is given before a store sees it.

    Stores inherit from it, so that mypy names what one of them lacks.
    """

    address: str
    """As messages name it."""

    @property
    def manifest(self) -> Manifest:
        """What the gallery is."""

    @property
    def removals(self) -> list[dict[str, Any]]:
        """What has been removed, the oldest first."""

    def __len__(self) -> int:
        """Return how many images there are."""

    def info(self) -> dict[str, Any]:
        """Return what only this kind of store knows, and how it is searched."""

    def state(self) -> object:
        """Return a value that changes when others change what `refresh` reads; cheap."""

    def refresh(self) -> None:
        """Read what others have changed."""

    def add(self, vectors: NDArray[np.float32], table: pd.DataFrame) -> NDArray[np.int64]:
        """Add (n, D) vectors and a table of n rows; return the ids (n,)."""

    def remove(self, removal: Removal, compact: bool) -> int:
        """Remove images, log them, and return how many."""

    def compact(self) -> None:
        """Take removed vectors out of the files."""

    def join_small(self) -> None:
        """Join what many small additions have left, where the store needs that."""

    def index(self, kind: IndexChoice) -> str | None:
        """Build an index, or remove it; return what was built, or None."""

    def check(self) -> None:
        """Compare what is stored with what was written, where the store can."""

    def search(
        self,
        queries: NDArray[np.float32],
        top: int,
        condition: Condition | None,
        search: Search,
        rerank: bool,
        wish: Wish | None,
    ) -> Hits:
        """Return the nearest images of each query (Q, D)."""

    def search_by_attributes(self, top: int, condition: Condition | None, wish: Wish) -> Hits:
        """Return the images that have wanted attributes with the most certainty."""

    def take(self, ids: NDArray[np.int64]) -> pa.Table:
        """Return what is known of some images, in the order of `ids`; an unknown id is an `InputError`."""

    def where(self, condition: Condition | None, columns: Sequence[str] | None) -> pa.Table:
        """Return what is known of all images that fulfill a condition, in the order of their ids."""

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the (n, D) vectors of images that are there."""


def already_there(address: object) -> InputError:
    """Return the error of a new gallery where one lies already."""
    return InputError(f"{address} is a gallery already; add to it with `reid gallery add`.")


def require_all(address: object, column: str, wanted: Sequence[Any], there: Container[Any]) -> None:
    """Refuse values that no image of a gallery has.

    Args:
        address: Of the gallery.
        column: Of the values.
        wanted: The values.
        there: Those that images have.

    Raises:
        InputError: One is not there.
    """
    if absent := [value for value in wanted if value not in there]:
        more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise InputError(f"{address} holds no image with the {column} {absent[0]}{more}.")


def rows_to_add(table: pd.DataFrame, manifest: Manifest) -> tuple[pa.Table, dict[str, str]]:
    """Return a table of images in a gallery's types, and the kinds of the columns that are new to it.

    Raises:
        InputError: A cell cannot be used.
    """
    schema = manifest.attributes
    if schema is not None and PROBABILITIES in table.columns:
        require_probabilities(table[PROBABILITIES], schema.num_outputs)
    rows, new = to_arrow(table, manifest.kinds, "The table of images")
    return rows, {name: kind for name, kind in new.items() if name not in FIXED}


def numbered(rows: pa.Table, ids: NDArray[np.int64]) -> pa.Table:
    """Return rows with the columns that a gallery gives itself: their ids, and when they were added."""
    now = pa.array([datetime.now(UTC)] * len(ids), pa.timestamp("us", tz="UTC"))
    return rows.append_column("id", pa.array(ids)).append_column("added", now)
