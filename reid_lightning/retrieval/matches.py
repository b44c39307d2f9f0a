"""Which gallery images show each query's person, and which of these pairs a protocol removes."""

from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

CameraPolicy = Literal["exclude_same_camera", "allow"]
UNKNOWN_CAMERA = -1
# Bookkeeping on numpy: the arrays are small, and torch would wait for all its threads at every step.
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a retrieval problem, the queries or the gallery: a row per image."""

    vectors: Tensor
    """(N, D)."""
    person_ids: Tensor
    """(N,) integer identities."""
    camera_ids: Tensor | None = None
    """(N,) integer cameras, -1 where unknown; None: all unknown."""

    def __len__(self) -> int:
        return len(self.vectors)

    def select(self, rows: Tensor) -> Self:
        """Return some rows, by a mask or by positions."""
        columns = {name: column[rows] for name, column in vars(self).items() if column is not None}
        return replace(self, **columns)


@dataclass(frozen=True, eq=False)
class Matches:
    """The identities and cameras of a query and a gallery table, with the gallery sorted by identity."""

    query_ids: Integers
    gallery_ids: Integers
    query_cameras: Integers | None
    gallery_cameras: Integers | None
    order: Integers
    """Gallery rows in the order of their identity."""
    sorted_ids: Integers

    @classmethod
    def of(cls, query: Side, gallery: Side, camera_policy: CameraPolicy = "exclude_same_camera") -> "Matches":
        """Check both sides and sort the gallery by identity.

        Args:
            query: The queries; their vectors are not read.
            gallery: The gallery, likewise.
            camera_policy: "exclude_same_camera" removes gallery images of the query's person from the query's own,
                known camera; "allow" keeps them.

        Raises:
            ValueError: A column is not as long as the vectors, or the policy is unknown.
        """
        if camera_policy not in get_args(CameraPolicy):
            choices = ", ".join(get_args(CameraPolicy))
            raise ValueError(f"camera_policy must be one of {choices}, got {camera_policy}")
        for name, side in (("query", query), ("gallery", gallery)):
            for column in ("person_ids", "camera_ids"):
                values = getattr(side, column)
                if values is not None and values.shape != (len(side),):
                    raise ValueError(
                        f"{column} of the {name} must have one value per vector, got shape {tuple(values.shape)} "
                        f"for {len(side)} vectors"
                    )
        ids = _integers(query.person_ids), _integers(gallery.person_ids)
        order = np.argsort(ids[1], kind="stable")
        if camera_policy == "allow" or query.camera_ids is None or gallery.camera_ids is None:
            return cls(*ids, None, None, order, ids[1][order])
        return cls(*ids, _integers(query.camera_ids), _integers(gallery.camera_ids), order, ids[1][order])

    def of_queries(self, queries: slice) -> tuple[Integers, Integers, NDArray[np.bool_]]:
        """Return every pair of these queries with a gallery image of the same person.

        Returns:
            Rows (counted from the slice's start, ascending), gallery columns, and a mask that is False where
            the protocol removes the pair because query and image come from the same, known camera.
        """
        ids = self.query_ids[queries]
        starts = np.searchsorted(self.sorted_ids, ids)
        counts = np.searchsorted(self.sorted_ids, ids, side="right") - starts
        rows = np.repeat(np.arange(len(ids)), counts)
        within = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
        columns = self.order[starts[rows] + within]
        if self.query_cameras is None or self.gallery_cameras is None:
            return rows, columns, np.ones(len(rows), dtype=bool)
        cameras = self.query_cameras[queries][rows]
        same = (cameras == self.gallery_cameras[columns]) & (cameras != UNKNOWN_CAMERA)
        return rows, columns, ~same


def _integers(column: Tensor) -> Integers:
    return column.detach().cpu().numpy().astype(np.int64)
