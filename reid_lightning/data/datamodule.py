"""From the chosen data sets to the loaders of training, validation and test."""

import copy
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

import albumentations as A
import numpy as np
import pandas as pd
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader

from reid_lightning.config.declared import ignores
from reid_lightning.data.attributes import MARKET12, AttributeSchema
from reid_lightning.data.content import Content, compare_content
from reid_lightning.data.dataset import FIELDS, Annotations, Columns, ReIDDataset, keep_batch
from reid_lightning.data.decoding import AREA
from reid_lightning.data.samplers import Batch, EpochSampler, PKSampler, ShardSampler
from reid_lightning.data.sources import Source, Sources
from reid_lightning.data.splits import hold_out, validation_queries
from reid_lightning.data.table import describe_table, identity_keys
from reid_lightning.data.table_checks import check_test, has_nameless_test, remarks
from reid_lightning.data.triplet_sampler import TripletSampler
from reid_lightning.data.unlabelled import is_unlabelled, set_aside, unlabelled_tracklets
from reid_lightning.errors import InputError

log = logging.getLogger("reid_lightning")

Loader = DataLoader[dict[str, Tensor]]
PK_16_4 = partial(PKSampler, 16, 4)


@ignores("cache_limit", "no image is cached", cache=False)
@ignores("validation_queries", "no identities are held out", validation=(None, "none"))
@ignores("validation_seed", "no identities are held out", validation=(None, "none"))
class ReIDDataModule(LightningDataModule):
    """Tables of one or several data sets as batches.

    Args:
        sources: Each data set by the name that keeps its identities and cameras apart from the others'. A data set is a
            reader without open arguments, a table (`data/table.py`), or the path of a CSV, TSV or Parquet file with one.
        image_size: Height and width in pixels.
        sampler: Makes the training batch sampler when given `rows`, `labels`, `cameras` and `seed`; the default is 16
            identities with 4 images each.
        train_transform: Augmentation of training images in uint8; None for none.
        test_transform: What images pass through wherever nothing is augmented; None for nothing.
        batch_size: Images in an evaluation batch of one process.
        num_workers: Loader processes per rank. None: none on a CPU, where they would take the cores from the
            training; up to eight per GPU.
        cache: Whether images are decoded once into the image cache.
        cache_limit: Gigabytes that all files of the image cache together may take.
        damaged: "error" refuses missing and damaged images, "skip" leaves them out. Without the cache a damaged image is
            known when it is decoded, and refused.
        validation: Share of the training identities held out for validation, 0 to 1; None or "none" trains on
            all of them, those of the split `val` included. A table's own split `val` takes precedence over a
            share, where somebody in it is known.
        validation_queries: Number of random validation images that are queries; None: one image per identity
            and camera, as in Market-1501, or one tracklet where the data has tracklets.
        validation_seed: Another seed holds out other identities; apart from `seed`, so that runs with
            different seeds are comparable.
        unlabelled: Whether images of people who are not known train too, in groups that a task finds. True sets all
            identities of training rows aside, a list those of the sources that it names; what is set aside is `truth`,
            which diagnostics read and nothing trains on. False leaves images of unknown people out.
        seed: Order of the batches and augmentation.
        attributes: Which columns of the table are attributes, and their order in a batch.
        columns: What else batches carry, by name: what makes an array (N, ...) of the table of N rows after setup.
            Numbers of double precision arrive as float32.
        interpolation: How images are resized, one of `decoding.FILTERS`; that of the network, `network.feed.interpolation`.

    Attributes:
        table: All rows; `split` is `val` for those held out. Known after `setup`, as are the following.
        identity_labels: Label of each training identity, by `source/person_id`.
        num_identities: Number of training identities.
        has_validation: Whether there are validation rows.
        has_test: Whether there are query and gallery rows whose people are known.
        has_nameless_test: Whether there are query and gallery rows instead of which nobody is known: they are ranked and
            described, and nothing is scored.
        attribute_counts: Training images of each attribute class, attributes one after the other.
        truth: `source/person_id` of each row, those that are set aside included; missing where nobody is known.
        train_tracklets: Code of each training row's tracklet, (N,) in the order of `train_rows`, -1 where it is not known;
            of unlabelled data alone.
    """

    table: pd.DataFrame
    identity_labels: dict[str, int]
    num_identities: int
    has_validation: bool
    has_test: bool
    has_nameless_test: bool
    attribute_counts: list[int]
    truth: pd.Series
    train_tracklets: np.ndarray

    def __init__(
        self,
        sources: Mapping[str, Source],
        image_size: Sequence[int],
        sampler: Callable[..., EpochSampler] = PK_16_4,
        train_transform: A.BaseCompose | None = None,
        test_transform: A.BaseCompose | None = None,
        batch_size: int = 128,
        num_workers: int | None = None,
        cache: bool = True,
        cache_limit: float = 20.0,
        damaged: Literal["error", "skip"] = "error",
        validation: float | str | None = 0.1,
        validation_queries: int | None = None,
        validation_seed: int = 0,
        unlabelled: bool | Sequence[str] = False,
        seed: int = 0,
        attributes: AttributeSchema = MARKET12,
        columns: Columns | None = None,
        interpolation: str = AREA,
    ):
        super().__init__()
        if len(image_size) != 2 or min(image_size) < 1:
            raise ValueError(f"image_size must be a height and a width in pixels, got {list(image_size)}")
        self.sources: dict[str, Source] = dict(sources)  # as they were given
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.sampler = sampler
        self.train_transform = train_transform
        self.test_transform = test_transform
        self.batch_size = batch_size
        self.num_workers = num_workers
        self._sources = Sources(
            self.sources, attributes, self.image_size, interpolation, cache, cache_limit, damaged
        )
        self.validation = _share(validation)
        self.validation_queries = validation_queries
        self.validation_seed = validation_seed
        self.unlabelled = unlabelled
        self.seed = seed
        self.attributes = attributes
        self.columns = dict(columns or {})
        if taken := sorted(self.columns.keys() & set(FIELDS)):
            raise ValueError(
                f"columns names {', '.join(taken)}, which every batch has already: choose other names"
            )
        self._annotations: Annotations | None = None
        self._content: Content | None = None
        self._train_batches: EpochSampler | None = None

    def prepare_data(self) -> None:
        """Let the sources generate what they generate, and build the image cache; one process per machine.

        Raises:
            InputError: The tables cannot be used, an image is missing or cannot be decoded.
        """
        if self.trainer is not None and self.trainer.state.fn is not None:
            self.setup(self.trainer.state.fn.value)  # what the tables alone tell comes before any image
        self._sources.images()

    def setup(self, stage: str | None = None) -> None:
        """Hold out validation identities and number the training identities, alike on every rank.

        Raises:
            InputError: There are no training images, too few validation identities, or queries without a
                gallery.
        """
        if self._annotations is not None:
            return
        if self._sources.skips_damaged:
            self._sources.images()  # what is left out counts nowhere
        if stage in (None, "fit"):  # an evaluation may be of other sources
            self.unlabelled = is_unlabelled(self.unlabelled, self.sources)
        table = self._held_out()
        splits = set(table.loc[table["person_id"].notna(), "split"].unique())
        has_train = bool((table["split"] == "train").any())
        if stage in (None, "fit") and "train" not in splits and not (self.unlabelled and has_train):
            unknown = " whose person is known" if has_train else ""
            way_out = " (experiment=unlabelled trains without identities)" if has_train else ""
            raise InputError(
                f"The data has no rows of split train{unknown}: there is nothing to train on{way_out}."
            )
        check_test(table)
        self.has_test, self.has_validation = "query" in splits, "val" in splits
        self.has_nameless_test = has_nameless_test(table)
        self.table = table
        train = self._rows("train")
        if self.unlabelled:
            self.train_tracklets = unlabelled_tracklets(table, self.truth)[train]
        trained = identity_keys(table.iloc[train][["source", "person_id"]]).dropna().unique()
        self.identity_labels = {key: label for label, key in enumerate(sorted(trained))}
        self.num_identities = len(self.identity_labels)
        is_query = (table["split"] == "query").to_numpy()
        annotations = Annotations.from_table(
            table, self.identity_labels, is_query, self.attributes, self.columns
        )
        self.attribute_counts = _count_classes(annotations.attributes[train], self.attributes)
        if self.has_validation:
            rows = self._rows("val")
            annotations.is_query[rows] = validation_queries(
                annotations.person_ids[rows],
                annotations.camera_ids[rows],
                annotations.tracklet_ids[rows],
                self.validation_queries,
                self.validation_seed,
            )
        self._annotations = annotations
        rank_zero_info(f"{describe_table(table).to_string()}")
        _say(remarks(self._sources.table(), bool(self.unlabelled)))

    @property
    def left_out(self) -> pd.DataFrame:
        """`path` and `reason` of each image that is left out because it is missing or damaged."""
        return self._sources.left_out

    @property
    def is_tested(self) -> bool:
        """Whether there are queries and a gallery, with identities or without."""
        return self.has_test or self.has_nameless_test

    @property
    def annotations(self) -> Annotations:
        """What is known of every image, a row each as in `table`; known after `setup`."""
        return self._coded()

    def train_dataloader(self) -> Loader:
        """Return batches of training identities; the sampler draws a new epoch each time."""
        batches = self.train_batches
        if self.trainer is not None:
            # Workers draw before Lightning calls set_epoch, in a resumed run too; and its `current_epoch` is not yet
            # the one that it resumes at.
            batches.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
        return self._loader(ReIDDataset(self._sources.images(), self._coded(), self.train_transform), batches)

    @property
    def train_rows(self) -> np.ndarray:
        """The table's rows that train, (N,), increasing; known after `setup`."""
        return self._rows("train")

    @property
    def train_batches(self) -> EpochSampler:
        """The sampler of the training batches, one and the same; made where the processes know of each other."""
        if self._train_batches is None:
            rows, annotations = self._rows("train"), self._coded()
            self._train_batches = self.sampler(
                rows=rows,
                labels=annotations.labels[rows],
                cameras=annotations.camera_ids[rows],
                seed=self.seed,
            )
        return self._train_batches

    def train_images_dataloader(self, every: int = 1) -> Loader:
        """Return training images once, as an evaluation sees them: what offline mining embeds.

        Args:
            every: Take the first of so many rows; 1: all.
        """
        return self._loader(self._plain_images(), ShardSampler(self._rows("train")[::every], self.batch_size))

    def train_triplets_dataloader(self, triplets: int) -> Loader:
        """Return triplets of training images as an evaluation sees them, always the same: what filters are explored with.

        Args:
            triplets: In a batch of all ranks together, which must share them evenly.
        """
        rows, annotations = self._rows("train"), self._coded()
        sampler = TripletSampler(
            triplets,
            rows=rows,
            labels=annotations.labels[rows],
            cameras=annotations.camera_ids[rows],
            seed=self.seed,
        )
        return self._loader(self._plain_images(), sampler)

    def images_of(self, rows: Sequence[int]) -> Tensor:
        """Return (B, 3, H, W) uint8 images of some rows of the table, as an evaluation sees them."""
        return self._plain_images().__getitems__([(row, 0) for row in rows])["images"]

    def images_of_cameras(self, stage: str, count: int) -> dict[int, Iterator[Tensor]]:
        """Return images of each known camera, at equal distances in the table, as an evaluation sees them.

        Args:
            stage: "train", "val" or "test": whose rows.
            count: Images of a camera, at most.

        Returns:
            camera code -> (B, 3, H, W) uint8 batches, which are read when they are asked for.
        """
        rows = self._rows(*{"test": ("query", "gallery")}.get(stage, (stage,)))
        cameras = self._coded().camera_ids[rows]
        found: dict[int, Iterator[Tensor]] = {}
        for camera in np.unique(cameras[cameras >= 0]).tolist():
            own = rows[cameras == camera]
            chosen = own[np.linspace(0, len(own) - 1, min(count, len(own))).round().astype(np.int64)]
            parts = [
                chosen[start : start + self.batch_size] for start in range(0, len(chosen), self.batch_size)
            ]
            found[camera] = (self.images_of(part.tolist()) for part in parts)
        return found

    def training_batch(self, items: Sequence[tuple[int, int]], augmented: bool = True) -> dict[str, Tensor]:
        """Return images of the training as the network is given them; a training at the same time is not affected.

        Args:
            items: Rows of the table, and the seeds of their augmentation.
            augmented: False leaves the augmentation out.
        """
        transform = (
            copy.deepcopy(self.train_transform) if augmented else None
        )  # a data set seeds its transform
        return ReIDDataset(self._sources.images(), self._coded(), transform).__getitems__(items)

    def val_dataloader(self) -> Loader | list[Loader]:
        """Return the validation identities' queries and gallery, or no loader without validation."""
        if not self.has_validation:
            return []
        return self._evaluation_loader(ShardSampler(self._rows("val"), self.batch_size))

    def test_dataloader(self) -> Loader:
        """Return the test identities' queries and gallery, or those of a test set without identities.

        Raises:
            InputError: The data has no rows of the splits query and gallery.
        """
        return self._evaluation_loader(self.test_batches())

    def test_batches(self) -> ShardSampler:
        """Return the test set's batches, of which each is a list of (row, 0).

        Raises:
            InputError: The data has no rows of the splits query and gallery.
        """
        if not self.is_tested:
            raise InputError("The data has no rows of the splits query and gallery: there is no test set.")
        return ShardSampler(self._rows("query", "gallery"), self.batch_size)

    def test_part_dataloader(self, batches: Sequence[Batch]) -> Loader:
        """Return some of the `test_batches`."""
        return self._evaluation_loader(batches)

    def share(self, joined: pd.DataFrame) -> None:
        """Take the table of the sources from the job that has joined it before (`concatenate_tables`); it is not changed."""
        self._sources.share(joined)

    def _held_out(self) -> pd.DataFrame:
        """Return the table with the validation identities held out."""
        table = self._sources.table().copy()
        if self.validation is None:
            table["split"] = table["split"].replace("val", "train")
        self.truth = identity_keys(table)
        table = set_aside(table, self.unlabelled)
        if self.validation is not None and not ((table["split"] == "val") & table["person_id"].notna()).any():
            table = hold_out(table, self.validation, self.validation_seed)
        return table

    @property
    def content(self) -> Content:
        """Which images of the table occur twice; known after `setup`."""
        if self._content is None:
            self._content = compare_content(self.table, self._sources.images().checksums)
        return self._content

    def fingerprint(self) -> str:
        """Return a hash of the tables and the sizes of their images, wherever these lie."""
        return self._sources.fingerprint()

    def _coded(self) -> Annotations:
        if self._annotations is None:
            raise RuntimeError("setup() comes before the loaders")
        return self._annotations

    def _rows(self, *splits: str) -> np.ndarray:
        """Return the rows of some splits whose person is known, or all of an unlabelled training or test set."""
        chosen = self.table["split"].isin(splits)
        nameless = (self.has_nameless_test and "query" in splits) or (self.unlabelled and "train" in splits)
        if not nameless:
            chosen &= self.table["person_id"].notna()
        return np.flatnonzero(chosen)

    def _evaluation_loader(self, batches: ShardSampler | Sequence[Batch]) -> Loader:
        return self._loader(self._plain_images(evaluation=True), batches)

    def _plain_images(self, evaluation: bool = False) -> ReIDDataset:
        """Images as an evaluation sees them."""
        return ReIDDataset(self._sources.images(), self._coded(), self.test_transform, evaluation)

    def _loader(self, dataset: ReIDDataset, batches: EpochSampler | ShardSampler | Sequence[Batch]) -> Loader:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        workers = self.num_workers
        if workers is None:
            workers = _workers_per_gpu(self.trainer.num_devices) if on_gpu and self.trainer else 0
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=keep_batch,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=on_gpu,
        )


def _count_classes(codes: np.ndarray, schema: AttributeSchema) -> list[int]:
    """Return how often each class occurs in (N, attributes) codes, attributes one after the other."""
    return [
        int((column == code).sum())
        for column, size in zip(codes.T, schema.sizes, strict=True)
        for code in range(size)
    ]


def _share(validation: float | str | None) -> float | None:
    if validation is None or validation == "none":
        return None
    if isinstance(validation, str) or not 0 < validation < 1:
        raise ValueError(
            f"validation must be a share of the identities between 0 and 1, or none, got {validation}"
        )
    return float(validation)


@rank_zero_only
def _say(sentences: list[str]) -> None:
    for sentence in sentences:
        log.warning(sentence)


def _workers_per_gpu(gpus: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores // gpus))
