"""Rows of the table become a batch of tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import albumentations as A
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from reid_lightning.data.attributes import MARKET12, AttributeSchema
from reid_lightning.data.augmentation import SampleRandomness
from reid_lightning.data.cache_file import CachedImages
from reid_lightning.data.image_cache import DecodedImages
from reid_lightning.data.table import camera_keys, identity_keys, tracklet_keys
from reid_lightning.errors import InputError

#: What a batch carries of itself; a further column needs another name.
FIELDS = (
    "images", "labels", "person_ids", "camera_ids", "attributes", "index", "is_query", "tracklet_ids",
)  # fmt: skip
Columns = Mapping[str, Callable[[pd.DataFrame], np.ndarray]]


@dataclass(frozen=True)
class Annotations:
    """What the table says about each row, as integer codes that a batch can carry.

    Attributes:
        labels: Contiguous over the training identities, -1 elsewhere, (N,).
        person_ids: Identity over all rows and sources, -1 where unknown, (N,).
        camera_ids: Camera over all sources, -1 where unknown, (N,).
        attributes: Classes of the schema's attributes, -1 where unknown, (N, attributes).
        is_query: Whether an evaluation row is a query, (N,).
        tracklet_ids: Tracklet over all sources, -1 where unknown, (N,).
        columns: What batches carry beyond these, by name, each (N, ...); float64 is stored as float32.
    """

    labels: np.ndarray
    person_ids: np.ndarray
    camera_ids: np.ndarray
    attributes: np.ndarray
    is_query: np.ndarray
    tracklet_ids: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def from_table(
        cls,
        table: pd.DataFrame,
        identity_labels: dict[str, int],
        is_query: np.ndarray,
        schema: AttributeSchema = MARKET12,
        columns: Columns | None = None,
    ) -> "Annotations":
        """Code a table.

        Args:
            table: N rows, sources put together.
            identity_labels: Label of each training identity `source/person_id`.
            is_query: Whether an evaluation row is a query, (N,).
            schema: Which columns are attributes.
            columns: What makes a further array (N, ...) of the table, by the name that it has in a batch.

        Raises:
            ValueError: A further array has another length, or holds no numbers.
        """
        keys = identity_keys(table)
        attributes = np.full((len(table), len(schema)), -1, np.int8)
        for column, attribute in enumerate(schema):
            if attribute.name in table.columns:
                attributes[:, column] = table[attribute.name].fillna(-1).to_numpy(np.int8)
        return cls(
            labels=keys.map(identity_labels).fillna(-1).to_numpy(np.int64),
            person_ids=pd.factorize(keys, sort=True)[0].astype(np.int64),
            camera_ids=pd.factorize(camera_keys(table), sort=True)[0].astype(np.int64),
            attributes=attributes,
            is_query=is_query,
            tracklet_ids=pd.factorize(tracklet_keys(table), sort=True)[0].astype(np.int64),
            columns={name: _batched(name, read(table), len(table)) for name, read in (columns or {}).items()},
        )


class ReIDDataset(Dataset[dict[str, Tensor]]):
    """Images and annotations of a table, fetched a batch at a time.

    An item is (row, seed): the row of the table and the seed of its augmentation, so that a batch depends
    neither on the worker that makes it nor on the epochs before.

    Args:
        images: Decoded images, one per row of the table, uint8 (H, W, 3).
        annotations: Codes of every row.
        transform: Augmentation in uint8 that keeps the image size; None for none.
        evaluation: Whether batches say which rows are queries, and of which tracklet each row is.
    """

    def __init__(
        self,
        images: CachedImages | DecodedImages,
        annotations: Annotations,
        transform: A.BaseCompose | None = None,
        evaluation: bool = False,
    ):
        self.images = images
        self.annotations = annotations
        self.transform = transform
        self.evaluation = evaluation
        self._randomness = None if transform is None else SampleRandomness(transform)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, item: tuple[int, int]) -> dict[str, Tensor]:
        """Return one row as a batch of one."""
        return self.__getitems__([item])

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Return the batch; `images` is (B, 3, H, W) over channels-last memory.

        Raises:
            InputError: The augmentation changes the image size, or an image cannot be decoded.
        """
        rows = np.array([row for row, _ in items], np.int64)
        originals = [self.images[row] for row, _ in items]
        pixels = np.empty((len(items), *originals[0].shape), np.uint8)
        for image, original, (_, seed) in zip(pixels, originals, items, strict=True):
            image[...] = original
            if self.transform is not None and self._randomness is not None:
                self._randomness.seed(seed)
                image[...] = self._augmented(image)
        of = self.annotations
        batch = {
            "images": torch.from_numpy(pixels).permute(0, 3, 1, 2),
            "labels": torch.from_numpy(of.labels[rows]),
            "person_ids": torch.from_numpy(of.person_ids[rows]),
            "camera_ids": torch.from_numpy(of.camera_ids[rows]),
            "attributes": torch.from_numpy(of.attributes[rows].astype(np.int64)),
            "index": torch.from_numpy(rows),
        }
        if self.evaluation:
            batch["is_query"] = torch.from_numpy(of.is_query[rows])
            batch["tracklet_ids"] = torch.from_numpy(of.tracklet_ids[rows])
        for name, values in of.columns.items():
            batch[name] = torch.from_numpy(values[rows])
        return batch

    def _augmented(self, image: np.ndarray) -> np.ndarray:
        assert self.transform is not None
        augmented: np.ndarray = self.transform(image=image)["image"]
        if augmented.shape != image.shape or augmented.dtype != np.uint8:
            raise InputError(
                f"The augmentation returns {augmented.dtype} images of {augmented.shape} instead of uint8 "
                f"of {image.shape}: end it with a crop or resize to data.image_size, without normalization."
            )
        return augmented


def _batched(name: str, values: np.ndarray, rows: int) -> np.ndarray:
    """Return a further column in the form that a batch takes rows from."""
    values = np.asarray(values)
    if values.ndim == 0 or len(values) != rows:
        raise ValueError(f"the column {name} has shape {values.shape}, and the table {rows} rows")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"the column {name} holds {values.dtype}, of which no tensor can be made")
    return np.ascontiguousarray(values, np.float32 if values.dtype == np.float64 else None)


def keep_batch(batch: Any) -> Any:
    """Stand in for the loader's collate function: the dataset has made the batch already."""
    return batch
