"""A gallery on disk, searched with numpy: what `reid gallery build` made, read and never written."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_lightning.errors import InputError
from reid_lightning.runtime.distances import distances
from reid_lightning.runtime.facts import DISTANCES

MANIFEST = "gallery.json"
ROWS = 1 << 16  # compared at once
_LARGEST = 64_000_000  # bytes of the manifest


class Found(NamedTuple):
    """The nearest images of each query, nearest first."""

    rows: list[list[dict[str, Any]]]
    """What the gallery knows of them: `id`, `path`, `person_id` and its other columns."""
    distances: NDArray[np.float32]
    """(Q, k) in the gallery's distance."""


class VectorGallery:
    """A gallery as it is when it is opened. It needs pyarrow.

    Args:
        folder: That `reid gallery build` made.

    Attributes:
        distance: How its vectors are compared.
        fingerprint: Of the model that they come from.
        table: A `pyarrow.Table` with a row per image.
        vectors: (N, D), in the order of the table.

    Raises:
        InputError: It is not a gallery, or a file of it is damaged.

    Examples:
        gallery = VectorGallery("people", model=model)
        found = gallery.search(model.embed("query.jpg"), top=5)
    """

    def __init__(self, folder: str | os.PathLike[str], model: Any = None) -> None:
        place = Path(folder).expanduser()
        try:
            manifest = _manifest(place / MANIFEST)
            parts = [_segment(place / "segments", entry, manifest) for entry in manifest["segments"]]
        except FileNotFoundError as error:
            raise InputError(
                f"{place} is not a whole gallery ({error.filename or MANIFEST} is missing); make one with "
                "`reid gallery build`"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{place} cannot be read as a gallery ({str(error)[:200]})") from None
        self.distance: str = manifest["distance"]
        self.fingerprint: str = manifest["fingerprint"]
        import pyarrow as pa

        self.table = (
            pa.concat_tables([table for table, _ in parts], promote_options="default")
            if parts
            else pa.table({})
        )
        dimension = manifest["dimension"]
        self.vectors: NDArray[Any] = (
            np.concatenate([vectors for _, vectors in parts])
            if parts
            else np.zeros((0, dimension), np.float32)
        )
        if model is not None and self.fingerprint not in ("", model.facts.fingerprint):
            raise InputError(
                f"the vectors of {place} come from another model than this one: build the gallery with this one"
            )

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: NDArray[np.floating], top: int = 10, where: Any = None) -> Found:
        """Return the nearest images of each query.

        Args:
            queries: (Q, D) vectors, or one (D,).
            top: Number of results for each image.
            where: An expression of pyarrow about the columns, such as `pc.field("camera_id") == "2"`; None: all images.

        Raises:
            ValueError: The queries do not fit, or a number is out of range.
        """
        asked = np.atleast_2d(np.asarray(queries, np.float32))
        if asked.ndim != 2 or asked.shape[1] != self.vectors.shape[1]:
            raise ValueError(f"queries must be vectors of {self.vectors.shape[1]} numbers, got {asked.shape}")
        if not np.isfinite(asked).all():
            raise ValueError("queries must be finite")
        if top < 1:
            raise ValueError(f"top must be 1 or more, got {top}")
        places = np.arange(len(self.vectors))
        if where is not None and len(places):
            import pyarrow as pa

            numbered = self.table.append_column("_place", pa.array(places))
            places = numbered.filter(where)["_place"].to_numpy()
        best = np.full((len(asked), 0), np.inf, np.float32)
        held = np.zeros((len(asked), 0), np.int64)
        for start in range(0, len(places), ROWS):
            part = places[start : start + ROWS]
            far = distances(asked, self.vectors[part], self.distance)
            best, held = np.hstack([best, far]), np.hstack([held, np.broadcast_to(part, far.shape)])
            order = np.argsort(best, axis=1, kind="stable")[:, :top]
            best, held = np.take_along_axis(best, order, 1), np.take_along_axis(held, order, 1)
        return Found([self._rows(row) for row in held], best)

    def _rows(self, places: NDArray[np.int64]) -> list[dict[str, Any]]:
        return self.table.take(places).to_pylist() if len(places) else []


def _manifest(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path.name} is too large")
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict) or content.get("format") != 1:
        raise ValueError(f"{path.name} has another format than this version reads")
    if content["distance"] not in DISTANCES or content["dtype"] not in ("float32", "float16"):
        raise ValueError(f"{path.name} names a distance or a type that is not known")
    if type(content["dimension"]) is not int or not isinstance(content["fingerprint"], str):
        raise ValueError(f"{path.name} is damaged")
    return content


def _segment(folder: Path, entry: Any, manifest: dict[str, Any]) -> tuple[Any, NDArray[Any]]:
    """Return what is known of a segment's images, and their vectors, without those that have been removed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = {name: entry[name] for name in ("number", "rows", "removed", "removed_in")}
    if not all(type(value) is int and value >= 0 for value in numbers.values()):
        raise ValueError(f"{MANIFEST} is damaged")
    stem = f"{numbers['number']:06}"
    vectors = np.load(folder / f"{stem}.npy", mmap_mode="r", allow_pickle=False)
    try:
        table = pq.read_table(folder / f"{stem}.parquet", memory_map=True)
    except pa.ArrowException as error:
        if isinstance(error, OSError):
            raise
        raise ValueError(str(error)) from None
    shape = (numbers["rows"], manifest["dimension"])
    if vectors.shape != shape or vectors.dtype != np.dtype(manifest["dtype"]) or table.num_rows != shape[0]:
        raise ValueError(f"segment {stem} is not what {MANIFEST} says")
    if not numbers["removed"]:
        return table, vectors
    removed = np.load(folder / f"{stem}.removed-{numbers['removed_in']}.npy", allow_pickle=False)
    if removed.ndim != 1 or removed.dtype != np.int64 or len(removed) != numbers["removed"]:
        raise ValueError(f"the list of removed images of segment {stem} is damaged")
    alive = np.setdiff1d(np.arange(shape[0]), removed)
    return table.take(alive), vectors[alive]
