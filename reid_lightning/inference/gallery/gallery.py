"""Vectors of images that are searched, and what is known of the images: `reid_lightning.Gallery`."""

import copy
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.arguments import as_choice, as_flag, as_number, as_text, as_texts, as_whole, shown
from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.distances import Distance
from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.address import as_address, created, opened
from reid_lightning.inference.gallery.attributes import Wish
from reid_lightning.inference.gallery.changes import Vectors, as_ids, checked_vectors
from reid_lightning.inference.gallery.columns import PROBABILITIES
from reid_lightning.inference.gallery.conditions import Condition
from reid_lightning.inference.gallery.filters import parse_condition
from reid_lightning.inference.gallery.folder_store import FolderStore
from reid_lightning.inference.gallery.index import IndexChoice
from reid_lightning.inference.gallery.manifest import DTYPES, Manifest
from reid_lightning.inference.gallery.search import Hits, Search
from reid_lightning.inference.gallery.store import Removal, Store

if TYPE_CHECKING:
    from reid_lightning.inference.model import Model


class Gallery:
    """Vectors of images with what is known of each image, in a folder or in Milvus.

    A gallery in a folder shows the state in which it was opened, or which it has changed; `refresh` reads what others have
    changed. Any number of processes may read while one changes it, and further writers wait (`FolderStore`). One in Milvus
    shows what is there now (`MilvusStore`).

    Args:
        address: That `create` or `reid gallery build` made: a folder, a file `.db` of Milvus Lite, or
            `milvus://HOST:PORT/NAME`.

    Raises:
        InputError: There is no gallery, or a file of it is missing, damaged or foreign.

    Examples:
        >>> import tempfile
        >>> gallery = Gallery.create(f"{tempfile.mkdtemp()}/people", dimension=2)
        >>> rows = pd.DataFrame({"path": ["a.jpg", "b.jpg", "c.jpg"], "person_id": ["Ada", "Ada", None]})
        >>> gallery.add(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), rows).tolist()
        [0, 1, 2]
        >>> hits = gallery.search(np.array([[0.1, 1.0]]), top=2)
        >>> gallery.rows(hits.ids[0])["path"].tolist()
        ['c.jpg', 'b.jpg']
        >>> gallery.remove(person="Ada"), len(gallery)
        (2, 1)
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        self.store: Store = opened(as_address(address))

    def __copy__(self) -> "Gallery":
        """Return the gallery as it is now, which stays so when this one is refreshed."""
        other = object.__new__(type(self))
        other.store = copy.copy(self.store)
        return other

    @property
    def address(self) -> str:
        """Where it lies, as messages name it."""
        return self.store.address

    @property
    def in_folder(self) -> bool:
        """Whether it lies in a folder of this machine."""
        return isinstance(self.store, FolderStore)

    @property
    def folder(self) -> Path:
        """The folder that it lies in.

        Raises:
            InputError: It is in Milvus.
        """
        if isinstance(self.store, FolderStore):
            return self.store.folder
        raise InputError(f"{self.address} is in Milvus and has no folder on this machine.")

    @classmethod
    def create(
        cls,
        address: str | os.PathLike[str],
        dimension: int,
        *,
        distance: Distance = "cosine",
        dtype: str = "float32",
        fingerprint: str = "",
        preprocessing: str = "",
        attributes: AttributeSchema | None = None,
    ) -> "Gallery":
        """Make an empty gallery.

        Args:
            address: As of `Gallery`. A folder is made, or must be empty; a name in Milvus must be free.
            dimension: Of the vectors.
            distance: "cosine", "euclidean" or "sqeuclidean".
            dtype: "float32", or "float16" for half the space: cosine distances then change by about 1e-5.
            fingerprint: SHA-256 of the model's weights, `Model.fingerprint`; "" where it is not known.
            preprocessing: How images become vectors, in one line.
            attributes: What is to be known of the people's looks: tables of `add` then have a column
                `attribute_probabilities`, as of `Model.embed_with_attributes`.

        Raises:
            InputError: The place is taken or cannot be written to, or a choice is unknown.
        """
        place = as_address(address)
        as_choice(distance, "distance", get_args(Distance))
        as_choice(dtype, "dtype", DTYPES)
        dimension = as_whole(dimension, "dimension", 1)
        as_text(fingerprint, "fingerprint")
        as_text(preprocessing, "preprocessing")
        if attributes is not None and not isinstance(attributes, AttributeSchema):
            raise InputError(f"attributes must be a schema, as of `Model.schema`, got {shown(attributes)}.")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest(
            dimension, dtype, distance, fingerprint, preprocessing, now, attributes=attributes
        )
        created(place, manifest)
        return cls(address)

    @classmethod
    def for_model(cls, address: str | os.PathLike[str], model: "Model", dtype: str = "float32") -> "Gallery":
        """Make an empty gallery for a model's vectors, which `reid search` takes as one that `reid gallery build` has made.

        Args:
            address: As of `create`.
            model: What embeds; where it answers attributes, the gallery holds them.
            dtype: As of `create`.

        Raises:
            InputError: As of `create`.
        """
        from reid_lightning.inference.gallery.images import preprocessing_line
        from reid_lightning.inference.model import Model

        if not isinstance(model, Model):
            raise InputError(
                f"A gallery is made for a model, as returned by `reid_lightning.load`, got {shown(model)}."
            )
        return cls.create(
            address,
            model.vector_size,
            distance=model.protocol.distance,
            dtype=dtype,
            fingerprint=model.fingerprint,
            preprocessing=preprocessing_line(model),
            attributes=model.schema,
        )

    def __len__(self) -> int:
        return len(self.store)

    @property
    def manifest(self) -> Manifest:
        """What the gallery is: dimension, distance, model and columns; in a folder also its segments."""
        return self.store.manifest

    @property
    def info(self) -> dict[str, Any]:
        """What the gallery is and holds, as plain values."""
        manifest, own = self.manifest, self.store.info()
        people = self.arrow(columns=["person_id"])["person_id"]
        last = {name: own.pop(name) for name in ("search", "changes")}
        return {
            "images": len(people),
            "people": len(people.drop_null().unique()),
            "images_without_person": people.null_count,
            "dimension": manifest.dimension,
            "dtype": manifest.dtype,
            "distance": manifest.distance,
            **own,
            "removed_in_all": sum(int(entry.get("images", 0)) for entry in self.removals),
            "columns": manifest.asked,
            "attributes": [] if manifest.attributes is None else list(manifest.attributes.names),
            "search": last["search"],
            "fingerprint": manifest.fingerprint,
            "preprocessing": manifest.preprocessing,
            "created": manifest.created,
            "changes": last["changes"],
        }

    @property
    def removals(self) -> list[dict[str, Any]]:
        """What has been removed, a dictionary for each removal, the oldest first."""
        return self.store.removals

    def refresh(self) -> None:
        """Read what other processes have changed."""
        self.store.refresh()

    def require_model(self, fingerprint: str, preprocessing: str) -> None:
        """Refuse another model, or vectors that are taken otherwise.

        Raises:
            InputError: The gallery's vectors come from another model.
        """
        for name, theirs, own in (
            ("model", fingerprint, self.manifest.fingerprint),
            ("preprocessing", preprocessing, self.manifest.preprocessing),
        ):
            if as_text(theirs, f"The {name}") != own:
                shown = [value[:12] if name == "model" else value for value in (own, theirs)]
                raise InputError(
                    f"{self.address} holds vectors of another {name} ({shown[0] or 'unknown'}, not {shown[1]}); use that "
                    "one, or embed its images again with `reid gallery rebuild`."
                )

    def add(self, vectors: Vectors, table: pd.DataFrame | None = None) -> NDArray[np.int64]:
        """Add images, all of them or, on an error or a kill, none.

        Args:
            vectors: (n, D).
            table: (n,) what is known of each: `path`, `person_id`, `camera_id`, `tracklet_id`, `frame_id`, `time`, all
                optional, and any further columns; None: nothing.

        Returns:
            (n,) the ids of the images.

        Raises:
            InputError: Lengths differ, a vector has another dimension, is not finite or too large for float16, or a cell
                cannot be used.
        """
        rows = self._checked(vectors)
        table = pd.DataFrame(index=range(len(rows))) if table is None else table
        if not isinstance(table, pd.DataFrame):
            raise InputError(f"What is known of the images must be a table of pandas, got {shown(table)}.")
        if len(table) != len(rows):
            raise InputError(
                f"{len(rows)} vectors come with {len(table)} rows of a table; give one row each."
            )
        if not len(rows):
            return np.empty(0, np.int64)
        return self.store.add(rows, table)

    def remove(
        self,
        *,
        person: str | None = None,
        ids: Sequence[int] | None = None,
        paths: Sequence[str] | None = None,
        older_than_days: float | None = None,
        where: str | None = None,
        compact: bool = True,
    ) -> int:
        """Remove the images that fulfill all conditions that are given, and log what was removed.

        The images are not found any more at once. Their vectors are then also taken out of the files: in a folder before
        this returns, in Milvus by its own compaction.

        Args:
            person: Images of a person, by `person_id`.
            ids: Images by their ids.
            paths: Images by their files, as the gallery has them.
            older_than_days: Images whose `time`, or where it is not known `added`, is longer ago.
            where: A condition, see `filters.parse_condition`.
            compact: Whether the vectors are taken out of the files now; otherwise `compact` does it later.

        Returns:
            How many images were removed.

        Raises:
            InputError: No condition is given, one cannot be read, or a person, id or file is not in the gallery.
        """
        ids = None if ids is None else as_ids(ids).tolist()
        paths = None if paths is None else as_texts(paths, "paths")
        given = {
            "person_id": None if person is None else as_text(person, "person"),
            "ids": ids,
            "paths": paths,
            "older_than_days": None if older_than_days is None else as_number(older_than_days, "An age"),
            "where": None if where is None else as_text(where, "where"),
        }
        rule = {name: value for name, value in given.items() if value is not None}
        compact = as_flag(compact, "compact")
        if not rule:
            raise InputError("Nothing says what to remove; give a person, ids, files, an age or a condition.")
        removal = Removal(person, ids, paths, older_than_days, self.condition(where), rule)
        return self.store.remove(removal, compact)

    def compact(self) -> None:
        """Take removed vectors out of the files, and join small segments."""
        self.store.compact()

    def join_small(self) -> None:
        """Join the newest small segments once there are many, as single images that are added one after the other leave.

        A segment is joined with those after it only where they hold as many images together, so that an image is written
        again a few times in all, however large the gallery grows. Removed vectors stay in segments that are not joined.
        """
        self.store.join_small()

    def index(self, kind: IndexChoice = "auto") -> str | None:
        """Build an index of FAISS for approximate search, or remove it.

        Args:
            kind: "ivf_pq" (clusters and short codes, for any size), "hnsw" (a graph, which holds all vectors in memory),
                "none", or "auto": clusters where the gallery is so large that an exact search takes long.

        Returns:
            What was built; None: nothing.

        Raises:
            InputError: FAISS is not installed, or the kind is unknown.
        """
        as_choice(kind, "kind", get_args(IndexChoice))
        return self.store.index(kind)

    def search(
        self,
        vectors: Vectors | None,
        top: int = 20,
        where: str | None = None,
        search: Search = "auto",
        rerank: bool = False,
        like: Wish | str | None = None,
    ) -> Hits:
        """Find the nearest images of each query, nearest first; at equal distance the one added earlier.

        Args:
            vectors: (Q, D) of the queries; None: the attributes alone are searched for.
            top: Number of results for each image.
            where: A condition on the images, see `filters.parse_condition`.
            search: "exact", "index" (approximate, by the index) or "auto": the index where there is one, and exact
                otherwise and with `where`.
            rerank: Order the nearest images of each query by their k-reciprocal neighbors among themselves.
            like: Attributes to search for, such as "red upper body, backpack": other images are ranked lower. A `Wish`
                says how far, or leaves them out.

        Raises:
            InputError: The vectors do not fit, the condition or the attributes cannot be read, or there is no index.
        """
        wish = like if like is None or isinstance(like, Wish) else self.wish(like)
        condition, rerank = self.condition(where), as_flag(rerank, "rerank")
        as_whole(top, "top", 1)
        if vectors is None:
            if wish is None:
                raise InputError("Nothing is searched for: give vectors, attributes, or both.")
            return self.store.search_by_attributes(top, condition, wish)
        queries = self._checked(vectors)
        as_choice(search, "search", get_args(Search))
        return self.store.search(queries, top, condition, search, rerank, wish)

    def wish(self, words: str, weight: float = 1.0, least: float | None = None) -> Wish:
        """Return attributes in words as a search takes them.

        Args:
            words: Such as "female, red upper body, no hat".
            weight: An image that has none of them moves back by this many standard deviations of the query's distances.
            least: Images are left out where one of them is less probable; None: none are.

        Raises:
            InputError: The gallery holds no attributes, a word is not understood, or a number is out of range.
        """
        return Wish.of(words, self.manifest.attributes, weight, least)

    def rows(self, ids: Sequence[int] | NDArray[np.int64] | Tensor) -> pd.DataFrame:
        """Return what is known of some images, a row each.

        Raises:
            InputError: An id is not in the gallery.
        """
        return _known(self.store.take(as_ids(ids))).to_pandas()

    def looks(self, ids: Sequence[int] | NDArray[np.int64]) -> pa.Table:
        """Return `rows` in Arrow's types, with the probabilities of the attributes."""
        return self.store.take(as_ids(ids))

    def table(self, where: str | None = None) -> pd.DataFrame:
        """Return what is known of all images that fulfill a condition, in the order of their ids."""
        return _known(self.arrow(where)).to_pandas()

    def arrow(self, where: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Return `table` in Arrow's types, with the probabilities of the attributes where there are any.

        Args:
            where: A condition.
            columns: Which are read; None: all.
        """
        return self.store.where(self.condition(where), columns)

    def vectors(self, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the (n, D) vectors of some images, in float32."""
        wanted = as_ids(ids)
        self.store.take(wanted)  # for its check
        return self.store.vectors(wanted)

    def condition(self, where: str | None) -> Condition | None:
        """Return a condition in words as one on the gallery's columns."""
        return None if where is None else parse_condition(as_text(where, "where"), self.manifest.asked)

    def check(self) -> None:
        """Compare every file with its digest.

        Raises:
            InputError: A file has been changed.
        """
        self.store.check()

    def _checked(self, vectors: Vectors) -> NDArray[np.float32]:
        return checked_vectors(vectors, self.manifest, self.address)


def _known(table: pa.Table) -> pa.Table:
    """Leave out what only a search by attributes reads."""
    return table.drop_columns([PROBABILITIES]) if PROBABILITIES in table.column_names else table
