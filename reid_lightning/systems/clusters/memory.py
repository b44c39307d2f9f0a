"""The memory of clusters that a batch is contrasted with, and that follows it."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from reid_lightning.distances import unit_vectors
from reid_lightning.errors import InputError
from reid_lightning.losses.cluster_contrast import (
    camera_proxy_contrast,
    cluster_nce,
    means_of_groups,
    moved_by_all,
    moved_by_hardest,
)

Proxies = Literal["cluster", "camera"]
Update = Literal["all", "hardest"]


class ClusterMemory:
    """Unit vectors of clusters, or of the parts of clusters that one camera has seen.

    Args:
        groups: (N,) cluster of each training image, -1 for none.
        cameras: (N,) camera codes, -1 where unknown.
        vectors: (N, D) embeddings, whose means are the first memory; None where `restore` brings it.
        proxies: "cluster" or "camera".

    Attributes:
        slots: (N,) entry of each training image in the memory, -1 for none.
        clusters: (M,) cluster of each entry.
        cameras: (M,) camera of each entry.
        vectors: (M, D) unit vectors.
    """

    vectors: Tensor

    def __init__(
        self, groups: Tensor, cameras: Tensor, vectors: Tensor | None = None, proxies: Proxies = "cluster"
    ) -> None:
        self.groups, self.proxies = groups, proxies
        if proxies == "camera":
            pairs = torch.stack([groups, cameras], dim=1)
            found, slots = torch.unique(pairs, dim=0, return_inverse=True)
            outside = int((found[:, 0] < 0).sum())  # they come first
            self.slots = torch.where(groups < 0, -1, slots - outside)
            self.clusters, self.cameras = found[outside:].unbind(dim=1)
        else:
            self.slots = groups
            self.clusters = torch.arange(int(groups.max()) + 1, device=groups.device)
            self.cameras = torch.full_like(self.clusters, -1)
        if vectors is not None:
            self.vectors = means_of_groups(unit_vectors(vectors), self.slots, len(self.clusters))

    def restore(self, vectors: Tensor) -> None:
        """Take up the vectors of an interrupted training.

        Raises:
            InputError: They are not those of these clusters.
        """
        if vectors.ndim != 2 or len(vectors) != len(self.clusters):
            raise InputError(
                f"the checkpoint's memory has shape {tuple(vectors.shape)}, and {len(self.clusters)} clusters are there; "
                "resume with the same data and settings of tasks.clusters"
            )
        self.vectors = vectors

    def contrast(
        self, queries: Tensor, slots: Tensor, temperature: float, across: float
    ) -> dict[str, Tensor]:
        """Return the terms of a batch of all processes, before their weights.

        Args:
            queries: (B, D) unit embeddings.
            slots: (B,) entry of each image.
            temperature: Of the softmax.
            across: Weight of the term across cameras in that of camera proxies.
        """
        memory = self.vectors.to(queries.dtype)
        if self.proxies == "cluster":
            return {"clusters": cluster_nce(queries, slots, memory, temperature)}
        within, others = camera_proxy_contrast(
            queries, slots, memory, self.clusters, self.cameras, temperature
        )
        return {"clusters": within + across * others}

    def follow(self, queries: Tensor, slots: Tensor, momentum: float, update: Update) -> None:
        """Move the vectors of a batch's clusters towards its images."""
        move = moved_by_hardest if update == "hardest" else moved_by_all
        self.vectors = move(self.vectors.to(queries.dtype), queries.detach(), slots, momentum)

    def state(self) -> Mapping[str, Any]:
        """Return what continues a training: the groups of the images and the vectors, on the host."""
        return {"groups": self.groups.cpu(), "vectors": self.vectors.cpu()}
