"""The training set as an evaluation sees it: embedded as a whole, between two epochs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn

from reid_lightning.distributed.gather import gather_rows
from reid_lightning.retrieval.evaluation import embed
from reid_lightning.systems.task import Run


@torch.no_grad()
def embed_training_set(run: Run) -> Tensor:
    """Return the (N, D) float32 vectors of the training images, in the order of `ReIDDataModule.train_rows`.

    Images are not augmented. Every process embeds its share and receives all. Memory holds the vectors and one batch.

    Args:
        run: Its network is left as it was, batch statistics included.
    """
    vectors, index = [], []
    with evaluating(run.network):
        for batch in run.datamodule.train_images_dataloader():
            images = batch["images"].to(run.device, non_blocking=True)
            cameras = batch["cameras"].to(run.device) if "cameras" in batch else None
            with run.precision():
                found, _ = embed(
                    lambda view, cameras=cameras: run.network(view, cameras),  # type: ignore[misc]
                    images,
                    run.network(images, cameras),
                    run.protocol,
                )
            vectors.append(found.float())
            index.append(batch["index"].to(run.device))
    joined, places = (torch.cat(parts) if parts else torch.empty(0) for parts in (vectors, index))
    if distributed.is_available() and distributed.is_initialized():
        joined, places = (torch.cat(gather_rows(part)) for part in (joined, places))
    return joined[places.argsort()]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and every part of it back as it was."""
    before = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
