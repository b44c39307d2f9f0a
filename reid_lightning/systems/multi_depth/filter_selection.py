"""When the multi-depth descriptor's filters are explored: before every validation, on the weights that it judges."""

from collections.abc import Iterator
from itertools import islice

from lightning import Callback, LightningModule, Trainer
from torch import Tensor, distributed

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.errors import InputError, require
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.systems.multi_depth.descriptor import MultiDepthDescriptor


class ExploreFilters(Callback):
    """Chooses the descriptor's filters before each validation, or after each epoch of a run without validation.

    So every checkpoint holds the filters that belong to its weights, the best one is the best by its descriptor, and a
    resumed run has nothing to catch up on. The triples are always the same ones of the training set, without
    augmentation; each process explores its share of them.

    Args:
        triples: (query, same person, different person) images, at most one per training image.
        batch_size: Triples in a batch of one process.
    """

    def __init__(self, triples: int = 512, batch_size: int = 8) -> None:
        require(triples >= 1, "triples", ">= 1", triples)
        require(batch_size >= 1, "batch_size", ">= 1", batch_size)
        self.triples, self.batch_size = triples, batch_size

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explore, after averaged weights have taken their place."""
        if not trainer.sanity_checking:
            self._explore(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explore where no validation does."""
        if not trainer.enable_validation:
            pl_module.eval()
            self._explore(trainer, pl_module)
            pl_module.train()

    def _explore(self, trainer: Trainer, module: LightningModule) -> None:
        network = module.network
        assert isinstance(network, ReIDNetwork)
        descriptor = network.descriptor
        if descriptor is None:
            raise InputError("callbacks.explore has nothing to explore: choose descriptor=multi_depth")
        assert isinstance(descriptor, MultiDepthDescriptor)
        images = self._images(trainer, network)
        descriptor.explore(network.backbone, images, _over_processes)  # type: ignore[arg-type]

    def _images(self, trainer: Trainer, network: ReIDNetwork) -> Iterator[Tensor]:
        """Yield this process' share of the triples, batch after batch, normalized."""
        datamodule: ReIDDataModule = trainer.datamodule  # type: ignore[attr-defined]
        together = self.batch_size * trainer.world_size
        batches = trainer.fast_dev_run or max(1, self.triples // together)  # type: ignore[attr-defined]
        for batch in islice(datamodule.train_triplets_dataloader(together), int(batches)):
            yield network.normalize(trainer.strategy.batch_to_device(batch)["images"])


def _over_processes(sums: Tensor) -> Tensor:
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(sums)
    return sums
