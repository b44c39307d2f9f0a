"""Who matches whom: the gallery's images of each query's person, and which of them a protocol removes."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.errors import InputError

CameraPolicy = Literal["exclude_same_camera", "allow"]
UNKNOWN_CAMERA = -1
# Bookkeeping on numpy: the arrays are small, and torch would wait for all its threads at every step.
Integers = NDArray[np.int64]


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
    def of(
        cls,
        query_ids: Tensor,
        gallery_ids: Tensor,
        query_cameras: Tensor | None,
        gallery_cameras: Tensor | None,
        *,
        camera_policy: CameraPolicy,
        lengths: tuple[int, int],
    ) -> "Matches":
        """Check the tables against the number of query and gallery features and sort the gallery.

        Raises:
            InputError: A length differs, or the policy is unknown.
        """
        if camera_policy not in get_args(CameraPolicy):
            choices = ", ".join(get_args(CameraPolicy))
            raise InputError(f"Camera policy '{camera_policy}' is unknown; choose one of {choices}.")
        for name, column, length in (
            ("query_ids", query_ids, lengths[0]),
            ("query_cameras", query_cameras, lengths[0]),
            ("gallery_ids", gallery_ids, lengths[1]),
            ("gallery_cameras", gallery_cameras, lengths[1]),
        ):
            if column is not None and column.shape != (length,):
                raise InputError(
                    f"{name} has shape {tuple(column.shape)} beside {length} features; give one value each."
                )
        ids = _integers(query_ids), _integers(gallery_ids)
        order = np.argsort(ids[1], kind="stable")
        if camera_policy == "allow" or query_cameras is None or gallery_cameras is None:
            return cls(*ids, None, None, order, ids[1][order])
        return cls(*ids, _integers(query_cameras), _integers(gallery_cameras), order, ids[1][order])

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
