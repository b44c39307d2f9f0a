"""The training set as an evaluation sees it: embedded as a whole, between two epochs."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm  # of one and of several processes

from reid_lightning.distances import promote
from reid_lightning.distributed.gather import gather_rows, mean_over_processes
from reid_lightning.models.camera_statistics import CameraStatistics
from reid_lightning.retrieval.evaluation import embed
from reid_lightning.systems.task import Run

STATISTICS_OF = 2048  # images, or up to twice as many: enough for a mean and a variance


@torch.no_grad()
def embed_training_set(run: Run, camera_statistics: int | None = None) -> Tensor:
    """Return the (N, D) float32 vectors of the training images, in the order of `ReIDDataModule.train_rows`.

    Images are not augmented. Every process embeds its share and receives all. Memory holds the vectors and one batch.

    Args:
        run: Its network is left as it was, batch statistics included.
        camera_statistics: Images of each camera by which its images are normalized; None: as in the training.
    """
    vectors, index = [], []
    with evaluating(run.network):
        by_camera = None if camera_statistics is None else _measured(run, camera_statistics)
        for batch in run.datamodule.train_images_dataloader():
            images = batch["images"].to(run.device, non_blocking=True)
            cameras = batch["cameras"].to(run.device) if "cameras" in batch else None
            with run.precision(), _of(run, by_camera, batch["index"]):
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


def _of(run: Run, statistics: CameraStatistics | None, index: Tensor) -> AbstractContextManager[None]:
    """Normalize the images of some rows by the statistics of their cameras, where there are any."""
    if statistics is None:
        return nullcontext()
    return statistics.applied(
        torch.from_numpy(run.datamodule.annotations.camera_ids[index.cpu().numpy()]).to(run.device)
    )


def _measured(run: Run, count: int) -> CameraStatistics:
    images = run.datamodule.images_of_cameras("train", count)
    with run.precision(), run.uncompiled():
        return CameraStatistics.measure(
            run.network,
            {camera: (batch.to(run.device) for batch in batches) for camera, batches in images.items()},
        )


@torch.no_grad()
def fill_neck_statistics(run: Run) -> bool:
    """Give the neck's batch normalization the mean and variance of images, where it has seen no batch yet.

    The images are those of training rows at equal distances, at most 4,095, without augmentation.

    Weights of a backbone bring no neck. A new one divides by 1 in evaluation and by the batch's deviation in training, so
    that the vectors that are clustered would not be those that are trained.

    Args:
        run: All of its processes call this; each embeds its share of the images.

    Returns:
        Whether there was anything to fill.
    """
    fresh = [
        layer
        for layer in run.network.neck.modules()
        if isinstance(layer, BatchNorm)
        and layer.num_batches_tracked is not None
        and not layer.num_batches_tracked
    ]
    if not fresh:
        return False
    sums: dict[nn.Module, Tensor] = {
        layer: torch.zeros(3, layer.num_features, device=run.device) for layer in fresh
    }

    def add(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        vectors = promote(inputs[0])
        parts = torch.stack([torch.ones_like(vectors), vectors, vectors**2])
        sums[layer] = sums[layer] + parts.sum(dim=1)

    hooks = [layer.register_forward_pre_hook(add) for layer in fresh]
    try:
        with evaluating(run.network), run.uncompiled():
            every = max(1, len(run.datamodule.train_rows) // STATISTICS_OF)
            for batch in run.datamodule.train_images_dataloader(every):
                cameras = batch["cameras"].to(run.device) if "cameras" in batch else None
                with run.precision():
                    run.network(batch["images"].to(run.device, non_blocking=True), cameras)
    finally:
        for hook in hooks:
            hook.remove()
    for layer in fresh:
        count, total, squares = mean_over_processes(sums[layer])  # the share of each cancels in the ratios
        assert layer.running_mean is not None
        assert layer.running_var is not None
        assert layer.num_batches_tracked is not None
        layer.running_mean.copy_(total / count)
        layer.running_var.copy_((squares / count - (total / count) ** 2).clamp(min=0))
        layer.num_batches_tracked += 1
    return True


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
