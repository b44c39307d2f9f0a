"""Who matches whom: the gallery's images of each query's person, and which of them a protocol removes."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from reid_lightning.errors import InputError

CameraPolicy = Literal["exclude_same_camera", "allow"]
UNKNOWN_CAMERA = -1


@dataclass(frozen=True, eq=False)
class Matches:
    """The identities and cameras of a query and a gallery table, with the gallery sorted by identity."""

    query_ids: Tensor
    gallery_ids: Tensor
    query_cameras: Tensor | None
    gallery_cameras: Tensor | None
    order: Tensor
    """Gallery rows in the order of their identity."""
    sorted_ids: Tensor

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
        device: torch.device,
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
        if camera_policy == "allow" or query_cameras is None or gallery_cameras is None:
            query_cameras = gallery_cameras = None
        else:
            query_cameras, gallery_cameras = query_cameras.to(device), gallery_cameras.to(device)
        query_ids, gallery_ids = query_ids.to(device, torch.int64), gallery_ids.to(device, torch.int64)
        sorted_ids, order = gallery_ids.sort(stable=True)
        return cls(query_ids, gallery_ids, query_cameras, gallery_cameras, order, sorted_ids)

    def of_queries(self, queries: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return every pair of these queries with a gallery image of the same person.

        Returns:
            Rows (counted from the slice's start, ascending), gallery columns, and a mask that is False where
            the protocol removes the pair because query and image come from the same, known camera.
        """
        ids = self.query_ids[queries]
        starts = torch.searchsorted(self.sorted_ids, ids)
        counts = torch.searchsorted(self.sorted_ids, ids, side="right") - starts
        rows = torch.arange(len(ids), device=ids.device).repeat_interleave(counts)
        within = torch.arange(len(rows), device=ids.device) - (counts.cumsum(0) - counts)[rows]
        columns = self.order[starts[rows] + within]
        if self.query_cameras is None or self.gallery_cameras is None:
            return rows, columns, torch.ones_like(rows, dtype=torch.bool)
        cameras = self.query_cameras[queries][rows]
        same = (cameras == self.gallery_cameras[columns]) & (cameras != UNKNOWN_CAMERA)
        return rows, columns, ~same
