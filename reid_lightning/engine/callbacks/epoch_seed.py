"""Randomness of an epoch follows from the run's seed and the epoch alone."""

import torch
from lightning import Callback, LightningModule, Trainer


class EpochSeed(Callback):
    """Seeds torch at the start of every epoch from (run seed, epoch, rank).

    A run resumed at an epoch's start then draws what the uninterrupted run drew (dropout, for one).

    Args:
        seed: The run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed this epoch."""
        torch.manual_seed((self.seed * 1_000_003 + trainer.current_epoch) * 4099 + trainer.global_rank)
