"""What happens around the steps: seeds, the line per epoch, cost, and weights that stay frozen at first."""

import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_only


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


class Cost(Callback):
    """Measures what training costs, without waiting for the device at any step.

    Attributes:
        images_per_second: Training images of all processes a second, validation left out.
        seconds: Wall time of training alone.
        earlier: Wall time of the fit, validation among it, that a resumed run continues.
    """

    def __init__(self) -> None:
        self.images = 0
        self.seconds = 0.0
        self.earlier = 0.0
        self._started: float | None = None
        self._fit_started: float | None = None
        self._fits = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remember whether a checkpoint that is loaded next is one to continue from."""
        self._fits = stage == "fit"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the whole fit."""
        self._fit_started = time.perf_counter()

    @property
    def images_per_second(self) -> float:
        """Training throughput so far."""
        return self.images / self.seconds if self.seconds else 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: dict[str, torch.Tensor],
        batch_idx: int,
    ) -> None:
        """Count the images."""
        self.images += len(batch["images"]) * trainer.world_size

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock: validation is not training."""
        self._pause()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock and log the throughput."""
        self._pause()
        pl_module.log("train/images_per_second", self.images_per_second, rank_zero_only=True)

    def _pause(self) -> None:
        if self._started is not None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()  # steps still queued on the device belong to this epoch
            self.seconds += time.perf_counter() - self._started
            self._started = None

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run continues to count from."""
        here = 0.0 if self._fit_started is None else time.perf_counter() - self._fit_started
        return {"images": self.images, "seconds": self.seconds, "fit_seconds": self.earlier + here}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue to count; a test loads the best epoch, whose counts are not those of the run."""
        if self._fits:
            self.images, self.seconds = state_dict["images"], state_dict["seconds"]
            self.earlier = state_dict.get("fit_seconds", 0.0)

    def summary(self) -> dict[str, float]:
        """Return the cost of the run so far."""
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        return {
            "train_seconds": round(self.seconds, 2),
            "images_per_second": round(self.images_per_second, 1),
            "peak_gpu_memory_mb": round(peak / 2**20, 1),
        }


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


class EndInTime(Checkpoint):
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


class HoldBackbone(Callback):
    """Keeps the backbone as it was loaded during the first epochs, while the new layers settle.

    Gradients are dropped before the step rather than not computed, because DistributedDataParallel fixes at its
    start which parameters it reduces.

    Args:
        epochs: Epochs during which the backbone's weights and running statistics stay.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hold or release."""
        backbone: Any = pl_module.network.backbone  # type: ignore[union-attr]
        backbone.held = trainer.current_epoch < self.epochs
        backbone.train()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Drop the backbone's gradients while it is held."""
        backbone: Any = pl_module.network.backbone  # type: ignore[union-attr]
        if backbone.held:
            for parameter in backbone.parameters():
                parameter.grad = None


class EpochLine(Callback):
    """Prints one line per epoch, which stays on the screen and in log files when the progress bar is gone."""

    def __init__(self) -> None:
        self._start = 0.0
        self._first_epoch = 0
        self._validated = False

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock for the time left."""
        self._start, self._first_epoch = time.perf_counter(), trainer.current_epoch

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this epoch has validation numbers."""
        self._validated = True

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line."""
        from rich.console import Console

        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        done = trainer.current_epoch + 1
        total = trainer.max_epochs or done
        spent = time.perf_counter() - self._start
        left = spent / max(1, done - self._first_epoch) * (total - done)
        parts = [f"epoch {done:>{len(str(total))}}/{total}"]
        parts += [
            f"{label} {values[key]:{form}}"
            for key, label, form in _COLUMNS
            if key in values and (self._validated or not key.startswith("val/"))
        ]
        self._validated = False
        parts.append(f"left {int(left) // 60}:{int(left) % 60:02d}")
        Console().print("   ".join(parts), style="dim", highlight=False, soft_wrap=True)


_COLUMNS = (
    ("train/loss", "loss", ".3f"),
    ("val/mAP", "val mAP", ".3f"),
    ("val/rank1", "val Rank-1", ".3f"),
    ("train/images_per_second", "images/s", ".0f"),
)
