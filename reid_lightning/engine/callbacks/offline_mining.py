"""The second round of offline mining: search the training set between epochs, while training continues."""

import logging
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, distributed

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.data.triplet_sampler import NegativePools, TripletSampler
from reid_lightning.distributed.gather import gather_rows
from reid_lightning.mining.offline import OfflineHardMiner, wrong_neighbours

log = logging.getLogger("reid_lightning")


class OfflineMining(Callback):
    """Searches wrong neighbors when the run's `OfflineHardMiner` says so, and gives them to the sampler.

    The search ends an epoch, before its checkpoint is written: a resumed run draws from the same neighbors.
    """

    def __init__(self) -> None:
        self.pools: NegativePools | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the sampler of a resumed run what the interrupted one had found."""
        self._hand_over(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Search where it is due for the epochs to come."""
        if _miner(pl_module).is_due(trainer.current_epoch + 1, trainer.max_epochs or 0):
            embeddings, labels = _embed_training_set(trainer, pl_module)
            self.pools = wrong_neighbours(
                embeddings,
                labels,
                _miner(pl_module).neighbours,
                pl_module.protocol.distance,  # type: ignore[union-attr, arg-type]
                _miner(pl_module).search,
            )
            self._hand_over(trainer, pl_module)
            if trainer.is_global_zero:
                log.info(
                    "offline mining: %d of %d identities have wrong neighbors, %.0f images on average",
                    self.pools.filled,
                    len(self.pools.starts) - 1,
                    len(self.pools.members) / max(1, self.pools.filled),
                )

    def _hand_over(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.pools is not None:
            sampler = trainer.datamodule.train_batches  # type: ignore[attr-defined]
            assert isinstance(sampler, TripletSampler)  # checked with the config
            sampler.take_negatives_from(self.pools, _miner(pl_module).share)

    def state_dict(self) -> dict[str, Any]:
        """Return the last search's finding."""
        if self.pools is None:
            return {}
        return {name: torch.from_numpy(column) for name, column in vars(self.pools).items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the last search's finding."""
        if state_dict:
            self.pools = NegativePools(**{name: np.asarray(column) for name, column in state_dict.items()})


def _miner(module: LightningModule) -> OfflineHardMiner:
    miner = module.objective.miner  # type: ignore[union-attr]
    assert isinstance(miner, OfflineHardMiner)  # checked with the config
    return miner


@torch.no_grad()
def _embed_training_set(trainer: Trainer, module: LightningModule) -> tuple[Tensor, Tensor]:
    """Return retrieval embeddings (N, D) and labels (N,) of all training images in the table's order, on every rank."""
    datamodule: ReIDDataModule = trainer.datamodule  # type: ignore[attr-defined]
    strategy = trainer.strategy
    parts: list[tuple[Tensor, Tensor]] = []
    module.eval()
    for batch in datamodule.train_images_dataloader():
        batch = strategy.batch_to_device(batch)
        with strategy.precision_plugin.forward_context():
            vectors = module.embed(batch["images"])  # type: ignore[operator]
        parts.append((vectors, torch.stack([batch["index"], batch["labels"]], dim=1)))
    module.train()
    embeddings, codes = (torch.cat(column) for column in zip(*parts, strict=True))
    if distributed.is_available() and distributed.is_initialized():
        embeddings, codes = (torch.cat(gather_rows(column)) for column in (embeddings, codes))
    order = codes[:, 0].argsort()
    return embeddings[order], codes[order, 1]
