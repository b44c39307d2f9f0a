"""Randomness of an epoch follows from the run's seed and the epoch alone."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class EpochSeed(Callback):
    """Seeds torch at the start of every epoch from (run seed, epoch, rank), and again before its first step.

    A run resumed at an epoch's start then draws what the uninterrupted run drew (dropout and stochastic depth, for two).
    What starts the loader between the two moments draws as well, and not as often in a resumed run.

    Args:
        seed: The run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed this epoch."""
        self._seed(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed this epoch's steps."""
        if batch_idx == 0:
            self._seed(trainer)

    def _seed(self, trainer: Trainer) -> None:
        torch.manual_seed((self.seed * 1_000_003 + trainer.current_epoch) * 4099 + trainer.global_rank)
