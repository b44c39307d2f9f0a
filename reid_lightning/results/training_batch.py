"""A training batch after the training: as the sampler draws it, and as the trained network sees it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from reid_lightning.config.choices import chosen_options
from reid_lightning.distances import pairwise_distances, promote, unit_vectors
from reid_lightning.losses.spec import compares_unit_vectors, margin_of, spec_of
from reid_lightning.mining.kinds import BatchTriplets
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.systems.task import Run

TOGETHER = 128  # images that the network is given at a time
MARGIN, SQUARED_MARGIN = 0.3, 0.2
"""Where a loss has no margin: those of `conf/loss/triplet.yaml` and `conf/loss/triplet_squared.yaml`."""


@dataclass(frozen=True, eq=False)
class SeenBatch:
    """A training batch with what the network makes of it.

    Attributes:
        images: (N, 3, H, W) uint8, augmented.
        labels: (N,) training identities.
        rows: (N,) rows of the table.
        vectors: (N, D) before the neck's normalization, which metric losses read.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, run: Run) -> "SeenBatch":
        """Return the batch, of all processes, that would come after the last epoch, and its vectors of this network."""
        batch = run.datamodule.training_batch(run.datamodule.train_batches.batch_after())
        device = next(run.network.parameters()).device
        images, cameras = batch["images"], batch.get("cameras")
        with run.uncompiled(), judged(run.network) as network:
            parts = []
            for start in range(0, len(images), TOGETHER):
                some = slice(start, start + TOGETHER)
                of = None if cameras is None else cameras[some].to(device)
                parts.append(promote(network(images[some].to(device), of).before_neck).cpu())
        return cls(images, batch["labels"], batch["index"], torch.cat(parts))

    def compared(self, loss: nn.Module) -> Tensor:
        """Return the (N, D) vectors that a loss and its miner compare."""
        return unit_vectors(self.vectors) if compares_unit_vectors(loss) else self.vectors

    def distances(self, loss: nn.Module) -> Tensor:
        """Return the (N, N) distances of a loss of triplets."""
        squared = getattr(loss, "squared", False)
        return pairwise_distances(self.compared(loss), distance="sqeuclidean" if squared else "euclidean")

    def triplets(self, loss: nn.Module, margin: float | None = None) -> BatchTriplets:
        """Return the batch's valid triplets, by the loss's own margin, or the one given where it has none."""
        own = margin_of(loss)
        if own is None:
            own = margin or (SQUARED_MARGIN if getattr(loss, "squared", False) else MARGIN)
        return BatchTriplets(self.distances(loss), self.labels, own)


@contextmanager
def judged(network: ReIDNetwork) -> Iterator[ReIDNetwork]:
    """Have a network in evaluation mode and without gradients, and leave each of its modules in the mode it was in."""
    modes = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad():
            yield network.eval()
    finally:
        for module, training in modes.items():
            module.training = training


def triplet_loss_of(run: Run) -> tuple[str, nn.Module] | None:
    """Return the first loss of triplets that a run has trained, with its name."""
    return next(((name, loss) for name, loss in run.losses.items() if spec_of(loss).of_triplets), None)


def in_words(thing: object) -> str:
    """Return the name of an object's class in words.

    Examples:
        >>> in_words(nn.BatchNorm2d(1))
        'batch norm2d'
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(thing).__name__.removesuffix("Miner")).lower()


def augmentation_of(config: Mapping[str, Any]) -> str:
    """Return the augmentation's option and its changes, as "basic (HorizontalFlip)"."""
    changes = [
        str(node["_target_"]).rsplit(".", 1)[-1]
        for node in (config["augmentation"] or {}).get("transforms") or []
    ]
    name, listed = chosen_options(config).get("augmentation"), ", ".join(changes)
    return f"{name} ({listed})" if name and changes else str(name or listed)


def who(row: pd.Series) -> str:
    """Return person and camera of a row of the table, short: "0003 c2"; a person who is not known is left out."""
    parts = (row["person_id"], f"c{row['camera_id']}" if pd.notna(row["camera_id"]) else pd.NA)
    return " ".join(str(part) for part in parts if pd.notna(part))
