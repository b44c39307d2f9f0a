"""Cluster contrast: clusters of the training set take the place of identities (Dai et al. 2021)."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
import torch
from torch import Tensor, distributed

from reid_lightning.distances import promote, unit_vectors
from reid_lightning.errors import InputError, require
from reid_lightning.losses.spec import LossOutput
from reid_lightning.models.features import Features
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.reporting.page import Picture
from reid_lightning.systems.clusters.forming import (
    Forming,
    Integers,
    against_truth,
    agreement,
    describe,
    shape_of,
)
from reid_lightning.systems.clusters.memory import ClusterMemory, Proxies, Update
from reid_lightning.systems.task import Gather, Plan, Run, Task

if TYPE_CHECKING:  # the data module brings Lightning along, which a trained model does not need
    from reid_lightning.data.datamodule import ReIDDataModule

log = logging.getLogger("reid_lightning")


class ClustersTask(Task):
    """Trains on images of unknown people: before each epoch they are clustered, and each is drawn to its cluster.

    Before each epoch the training set is embedded without augmentation and clustered (`Forming`). Images of labeled
    sources, where there are any, are grouped by their identity instead. A memory holds a unit vector of each group, first
    the mean of its images; the loss is ClusterNCE, or that of camera-aware proxies, and the memory follows every batch.

    Args:
        weight: Factor of the loss.
        eps: Largest Jaccard distance of neighbors in a cluster; of a list, that with the largest silhouette is taken
            each time.
        least: Images within eps, itself included, that make an image the core of a cluster.
        k1: Neighbors in which two images must find each other.
        k2: Nearest images over which a neighborhood is averaged.
        center_cameras: Whether images are compared without the mean of their camera.
        camera_statistics: Images of each camera by whose mean and variance its images are normalized before they are
            compared, where a network of people begins; None: as in the training.
        keep_alone: Whether images in no cluster are clusters of their own; they are left out otherwise.
        proxies: "cluster": one vector a cluster; "camera": one for each camera that has seen it (Wang et al. 2021).
        across: Of camera proxies, weight of the term across cameras.
        update: "all": the memory follows all images of a batch; "hardest": the least similar one of each cluster.
        momentum: Share of a memory's vector that stays at each image.
        temperature: Of the softmax over clusters.
        balance: Whether sources share every batch evenly, where there are several.
        feature: Field of the features that is trained: the one that retrieval compares.

    Raises:
        ValueError: A setting is out of range.
    """

    name = "clusters"
    needs_evaluation = False
    gives_labels: ClassVar[bool] = True
    prepares_epochs: ClassVar[bool] = True
    monitors: ClassVar[tuple[str, ...]] = ("silhouette", "stability", "clusters")

    def __init__(
        self,
        weight: float = 1.0,
        eps: float | Sequence[float] = 0.5,
        least: int = 4,
        k1: int = 30,
        k2: int = 6,
        center_cameras: bool = False,
        camera_statistics: int | None = None,
        keep_alone: bool = False,
        proxies: Proxies = "cluster",
        across: float = 0.5,
        update: Update = "all",
        momentum: float = 0.1,
        temperature: float = 0.05,
        balance: bool = True,
        feature: str = "embedding",
    ) -> None:
        super().__init__({"clusters": weight})
        require(weight > 0, "weight", "> 0", weight)
        require(proxies in get_args(Proxies), "proxies", f"one of {', '.join(get_args(Proxies))}", proxies)
        require(update in get_args(Update), "update", f"one of {', '.join(get_args(Update))}", update)
        require(across >= 0, "across", ">= 0", across)
        require(0 <= momentum < 1, "momentum", "in [0, 1)", momentum)
        require(temperature > 0, "temperature", "> 0", temperature)
        require(
            camera_statistics is None or camera_statistics >= 2,
            "camera_statistics",
            ">= 2, or null",
            camera_statistics,
        )
        self.camera_statistics = camera_statistics
        self.forming = Forming(eps, least, k1, k2, center_cameras, keep_alone)
        self.proxies, self.across, self.update_by = proxies, across, update
        self.momentum, self.temperature, self.balance, self.feature = momentum, temperature, balance, feature
        self.memory: ClusterMemory | None = None  # of the epoch that trains
        self.numbers: dict[str, float] = {}  # of the last clustering
        self._groups: Integers | None = None  # (N,) of each training image
        self._places: Tensor | None = None  # (table rows,) place of each among the training images
        self._restored: Mapping[str, Any] = {}

    @classmethod
    def from_config(cls, plan: Plan) -> "ClustersTask":
        """Return the task; it trains the field that the evaluation compares."""
        return cls(**plan.settings, feature=plan.config["evaluation"]["feature"])

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        """Refuse a classifier, batches that are not drawn from clusters, and data with labels."""
        if not config["data"].get("unlabelled"):
            raise InputError(
                "tasks.clusters trains without identities: add data.unlabelled=true, or a list of the sources that have none"
            )
        if config["classifier"]:
            raise InputError(
                "tasks.clusters has no fixed identities that a classifier could tell: add classifier=none"
            )

    @classmethod
    def check_data(
        cls, node: Mapping[str, Any], config: Mapping[str, Any], datamodule: "ReIDDataModule"
    ) -> None:
        """Refuse fewer images than neighbors, and statistics of cameras that are not known."""
        if (
            node.get("camera_statistics")
            and (datamodule.annotations.camera_ids[datamodule.train_rows] < 0).all()
        ):
            raise InputError(
                "tasks.clusters.camera_statistics needs training images of known cameras, and there are none; leave it out"
            )
        unknown = int((datamodule.annotations.labels[datamodule.train_rows] < 0).sum())
        k1 = node.get("k1", 30)
        if unknown <= k1:
            raise InputError(
                f"tasks.clusters.k1={k1} needs more than the {unknown} training images without an identity; lower it"
            )

    def before_epoch(self, run: Run) -> dict[str, float]:
        """Cluster the training set, and draw the next epoch's batches from its clusters."""
        data = run.datamodule
        rows = data.train_rows
        cameras = torch.from_numpy(data.annotations.camera_ids[rows]).to(run.device)
        places = torch.full((len(data.table),), -1, dtype=torch.int64)
        places[torch.from_numpy(rows)] = torch.arange(len(rows))
        self._places = places.to(run.device)
        if run.resumed and self._restored:
            groups = self._restored["groups"]
            if groups.shape != (len(rows),):
                raise InputError(
                    f"the checkpoint's clusters are of {len(groups)} training images, and {len(rows)} are there; resume "
                    "with the same data"
                )
            self._groups = groups.numpy()
            self.memory = ClusterMemory(groups.to(run.device), cameras, proxies=self.proxies)
            self.memory.restore(self._restored["vectors"].to(run.device))
            self._hand_over(data)
            return {}
        from reid_lightning.systems.training_set import embed_training_set, fill_neck_statistics

        if fill_neck_statistics(run):
            log.info(
                "the neck is new: its batch normalization starts from the mean and variance of its images"
            )
        vectors = embed_training_set(run, self.camera_statistics)
        before = self._groups
        groups = self._cluster(run, vectors, cameras)
        if groups.max(initial=-1) < 1:
            raise InputError(too_few(groups, self.forming))
        if before is not None:
            self.numbers["stability"] = agreement(groups, before)
        self._groups = groups
        self.memory = ClusterMemory(torch.from_numpy(groups).to(run.device), cameras, vectors, self.proxies)
        self._hand_over(data)
        return dict(self.numbers)

    def _cluster(self, run: Run, vectors: Tensor, cameras: Tensor) -> Integers:
        """Return the group of each training image; the first process finds the clusters, and tells the others."""
        found: list[Any] = [None, None]
        if not _together() or distributed.get_rank() == 0:
            found = list(self._found(run, vectors, cameras))
            log.info("clusters: %s", describe(found[1]))
        if _together():
            distributed.broadcast_object_list(found, src=0)
        groups: Integers
        groups, self.numbers = found
        return groups

    def _found(self, run: Run, vectors: Tensor, cameras: Tensor) -> tuple[Integers, dict[str, float]]:
        """Cluster the images without an identity, and group the others by theirs."""
        data = run.datamodule
        rows = data.train_rows
        known = data.annotations.labels[rows]
        unknown = np.flatnonzero(known < 0)
        where = torch.from_numpy(unknown).to(vectors.device)
        found, numbers = self.forming.form(vectors[where], cameras[where], data.train_tracklets[unknown])
        people = np.asarray(data.truth.iloc[rows[unknown]].astype("category").cat.codes, np.int64)
        numbers = shape_of(found) | numbers | against_truth(found, people)
        groups = known + found.max(initial=-1) + 1  # identities after the clusters
        groups[unknown] = found
        return groups, numbers

    def _hand_over(self, data: "ReIDDataModule") -> None:
        """Give the sampler the groups, and of which source each is."""
        assert self._groups is not None
        sampler: Any = data.train_batches  # one with `regroup`, as is checked with the config
        kinds = None
        if self.balance:
            sources = (
                data.table["source"].iloc[data.train_rows].astype("category").cat.codes.to_numpy(np.int64)
            )
            inside = np.flatnonzero(self._groups >= 0)
            _, first = np.unique(self._groups[inside], return_index=True)
            kinds = sources[inside[first]]
        sampler.regroup(self._groups, kinds)

    def labels(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        """Return the group of each image of a training batch."""
        if self.memory is None or self._places is None:
            return None
        return self.memory.groups[self._places[batch["index"]]]

    def losses(
        self, network: ReIDNetwork, features: Features, batch: Mapping[str, Tensor], gather: Gather
    ) -> dict[str, LossOutput]:
        """Return the contrast of a batch of all processes with the memory, which then follows it."""
        if self.memory is None or self._places is None:
            raise InputError("tasks.clusters needs the data module of this package, which it clusters")
        vectors = features.vectors(self.feature)
        with torch.autocast(vectors.device.type, enabled=False):
            queries = gather(unit_vectors(promote(vectors)))
            slots = gather(self.memory.slots[self._places[batch["index"]]])
            terms = self.memory.contrast(queries, slots, self.temperature, self.across)
            if self.training:
                self.memory.follow(queries, slots, self.momentum, self.update_by)
        return {name: LossOutput(value) for name, value in terms.items()}

    def saved(self) -> dict[str, Any]:
        """Return the numbers of the clustering by the checkpoint's weights."""
        return {"numbers": dict(self.numbers)}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take up the numbers of a checkpoint."""
        self.numbers = {str(name): float(value) for name, value in (saved.get("numbers") or {}).items()}

    def saved_training(self) -> dict[str, Any]:
        """Return the groups and the memory of the epoch that comes next."""
        return dict(self.memory.state()) if self.memory is not None else {}

    def restore_training(self, saved: Mapping[str, Any]) -> None:
        """Keep what an interrupted training had found until `before_epoch` asks for it.

        Raises:
            InputError: It is not what a run writes.
        """
        if saved:
            groups, vectors = (saved.get(name) for name in ("groups", "vectors"))
            tensors = isinstance(groups, Tensor) and isinstance(vectors, Tensor)
            if not (tensors and groups.dtype == torch.int64 and groups.ndim == 1):  # type: ignore[union-attr]
                raise InputError(
                    "the checkpoint's clusters are not what a run writes; resume from another file"
                )
            self._groups = groups.numpy()  # type: ignore[union-attr]
        self._restored = saved

    def scores(self, run: Run) -> dict[str, float]:
        """Return the numbers of the clustering by the weights that were tested; empty for a model that is only evaluated."""
        return dict(self.numbers) if run.datamodule.unlabelled else {}

    def figures(self, run: Run, scores: Mapping[str, float]) -> list[Picture]:
        """Draw the clusters over the epochs, their sizes, and images of some."""
        if self._groups is None or not run.datamodule.unlabelled or run.steps is not None:
            return []
        from reid_lightning.systems.clusters.figures import draw_clusters

        return draw_clusters(run, self._groups)

    def line(self, scores: Mapping[str, float]) -> str | None:
        """Return the numbers in words."""
        return f"clusters: {describe(scores)}" if scores else None


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def too_few(groups: Integers, forming: Forming) -> str:
    """Return why fewer than two clusters cannot train, and what to change.

    Args:
        groups: (N,) number of each training image's cluster, at most 0; -1 for an image in none.
        forming: How they were formed.
    """
    together = int((groups == 0).sum())
    start = "or start from other weights (start_from, backbone.weights)"
    if 2 * together > len(groups):
        return (
            f"one cluster holds {together:,} of {len(groups):,} training images, and two clusters are needed; lower "
            f"tasks.clusters.eps={forming.eps}, {start}"
        )
    found = "one cluster was" if together else "no cluster was"
    return (
        f"{found} found among {len(groups):,} training images, and two are needed; raise tasks.clusters.eps={forming.eps}, "
        f"lower tasks.clusters.least={forming.least}, {start}"
    )
