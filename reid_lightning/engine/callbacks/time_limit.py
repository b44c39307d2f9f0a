"""Trainings that end before their last epoch."""

import time
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint


class StopAfter(Callback):
    """Ends training after some epochs while schedules keep the length of the whole run.

    Args:
        epochs: Epochs to train.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop when the epochs are done."""
        if trainer.current_epoch + 1 >= self.epochs:
            trainer.should_stop = True


class TimeLimit(Checkpoint):
    """Ends training with a checkpoint after the last epoch that fits before a deadline.

    Lightning's `max_time` adds up over continued runs and stops within an epoch, which no checkpoint can continue; this
    counts from the process' own start and ends between epochs, after at least one. It is a `Checkpoint` so that Lightning
    calls it last, when all other callbacks are done with the epoch.

    Args:
        deadline: When the job must have ended, by `time.perf_counter`.
        path: Checkpoint file to write.

    Attributes:
        ended: Whether epochs are left for a continued run.
    """

    def __init__(self, deadline: float, path: Path) -> None:
        self.deadline, self.path = deadline, path
        self.ended = False
        self._previous = 0.0
        self._lengths: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the first epoch; later ones last from the end of the one before."""
        self._previous = self._previous or time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End here if another epoch does not fit."""
        now = time.perf_counter()
        self._lengths.append(now - self._previous)
        self._previous = now
        longest = max(self._lengths[1:] or self._lengths)  # the first one also warms up
        late = trainer.strategy.broadcast(now + 1.1 * longest > self.deadline)
        if late and not trainer.should_stop and trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            trainer.save_checkpoint(self.path)
            self.ended = trainer.should_stop = True
