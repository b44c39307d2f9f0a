"""How others train, for `train.py --peers`: on the same images, network, batch size and optimizer.

**A plain script**, as most published code is written: PIL decodes and resizes every image in loader processes, torchvision
flips, pads, crops, normalizes and erases it as float32; cross-entropy with smoothed labels and the batch-hard triplet loss;
`loss.item()` and the accuracy are asked for at every step. Precision as in the run, memory format contiguous. Written here.

**torchreid's engine**: its `ImageTripletEngine`, image data set, transforms (flip, crop, erasing) and identity sampler, in
float32, for it knows no other precision; the network is the run's, so that the rates compare loops, not backbones. What
PyPI has as `torchreid` is a re-packaging (0.2.5) that names no dependencies: it installs on Python 3.11 and trains with
torch 2.15 once gdown and tensorboard are there, as by `uv run --with torchreid --with gdown benchmarks/train.py --peers`.
"""

import contextlib
import importlib.metadata
import io
import time
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.experiments.factory import build_network
from reid_lightning.models.feed import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from train import Bare


class Steady:
    """A loader's first batches, again and again, that times all of them but the first."""

    def __init__(self, loader: Any, steps: int) -> None:
        self.loader, self.steps = loader, steps
        self.start = 0.0

    def __len__(self) -> int:
        return self.steps + 1

    def __iter__(self) -> Iterator[Any]:
        taken = 0
        while True:
            for batch in self.loader:
                yield batch
                taken += 1
                if taken == 1:
                    self.start = now()
                if taken > self.steps:
                    return


def now() -> float:
    """The time when the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Plain(nn.Module):
    """The run's network on images that come normalized: logits and the vectors that the triplet loss reads."""

    def __init__(self, bare: "Bare") -> None:
        super().__init__()
        self.network = build_network(bare.config | {"channels_last": False}, bare.datamodule.num_identities)
        self.network.normalize = nn.Identity()  # type: ignore[assignment]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network(images)
        logits = self.network.classify(features)
        assert logits is not None, "the peers train with cross-entropy"
        return logits, features.before_neck


class DecodedEachTime(Dataset[tuple[Tensor, int]]):
    """Images as a plain script makes them; an item is what the run's sampler draws, (row, seed)."""

    def __init__(self, table: pd.DataFrame, labels: NDArray[np.int64], size: tuple[int, int]) -> None:
        self.paths, self.labels = table["path"].tolist(), labels
        self.transform = transforms.Compose(
            [
                transforms.Resize(size),
                transforms.RandomHorizontalFlip(),
                transforms.Pad(10),
                transforms.RandomCrop(size),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
                transforms.RandomErasing(scale=(0.02, 0.4), ratio=(0.3, 3.3)),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, int]:
        row, _ = item
        return self.transform(Image.open(self.paths[row]).convert("RGB")), int(self.labels[row])


def batch_hard(vectors: Tensor, labels: Tensor, margin: float = 0.3) -> Tensor:
    """Each anchor's farthest positive and nearest negative (Hermans et al. 2017), as BoT's published program finds them."""
    squares = vectors.square().sum(1)
    distances = (squares[:, None] + squares - 2 * vectors @ vectors.T).clamp(min=1e-12).sqrt()
    same = labels[:, None] == labels
    positive = distances.masked_fill(~same, -torch.inf).amax(1)
    negative = distances.masked_fill(same, torch.inf).amin(1)
    return functional.margin_ranking_loss(negative, positive, torch.ones_like(positive), margin)


class PlainScript:
    """A plain training script; see above."""

    def __init__(self, bare: "Bare", workers: int) -> None:
        self.bare = bare
        self.model = Plain(bare).to(bare.device).train()
        self.optimizer = bare.module._optimizer(self.model.network, nn.Identity())
        datamodule = bare.datamodule
        self.loader = DataLoader(
            DecodedEachTime(datamodule.table, datamodule.annotations.labels, datamodule.image_size),
            batch_sampler=datamodule.train_batches,
            num_workers=workers,
            pin_memory=bare.device.type == "cuda",
        )
        self.log: list[tuple[float, float]] = []

    def rate(self, steps: int) -> float:
        """Images a second."""
        batches = Steady(self.loader, steps)
        for images, labels in batches:
            images, labels = images.to(self.bare.device), labels.to(self.bare.device)
            with self.bare.precision():
                logits, vectors = self.model(images)
                loss = functional.cross_entropy(logits, labels, label_smoothing=0.1)
                loss = loss + batch_hard(vectors.float(), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.log.append((loss.item(), (logits.argmax(1) == labels).float().mean().item()))
        return steps * self.bare.batch_size / (now() - batches.start)


def torchreid_version() -> str | None:
    """The installed version, or None."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("torchreid")
    return None


def torchreid_loader(
    datamodule: ReIDDataModule, batch_size: int, instances: int, workers: int, pin_memory: bool = False
) -> Any:
    """torchreid's image data set, transforms (flip, crop, erasing) and identity sampler on our training images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchreid.reid.data.datasets.dataset import ImageDataset
        from torchreid.reid.data.sampler import RandomIdentitySampler
        from torchreid.reid.data.transforms import build_transforms
    rows, labels = datamodule.train_rows, datamodule.annotations.labels
    train = [(datamodule.table["path"].iloc[row], int(labels[row]), 0) for row in rows]
    height, width = datamodule.image_size
    names = ["random_flip", "random_crop", "random_erase"]
    with contextlib.redirect_stdout(io.StringIO()):
        transform, _ = build_transforms(height, width, transforms=names)
    dataset = ImageDataset(train, train, train, transform=transform, mode="train", verbose=False)
    return DataLoader(
        dataset,
        batch_size,
        sampler=RandomIdentitySampler(dataset.train, batch_size, instances),
        num_workers=workers,
        pin_memory=pin_memory,
        drop_last=True,
    )


class Torchreid:
    """torchreid's engine; see above."""

    def __init__(self, bare: "Bare", workers: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torchreid.reid.engine import ImageTripletEngine
        self.batch_size, datamodule = bare.batch_size, bare.datamodule
        instances = bare.config["sampler"].get("images_per_identity", 4)
        self.loader = torchreid_loader(
            datamodule, self.batch_size, instances, workers, bare.device.type == "cuda"
        )
        model = Plain(bare).to(bare.device)
        optimizer = bare.module._optimizer(model.network, nn.Identity())
        manager = SimpleNamespace(
            train_loader=self.loader, test_loader=None, num_train_pids=datamodule.num_identities
        )
        self.engine = ImageTripletEngine(manager, model, optimizer)
        self.engine.max_epoch = 1

    def rate(self, steps: int) -> float:
        """Images a second."""
        self.engine.train_loader = batches = Steady(self.loader, steps)
        with contextlib.redirect_stdout(io.StringIO()):
            self.engine.train(print_freq=10)
        return steps * self.batch_size / (now() - batches.start)
