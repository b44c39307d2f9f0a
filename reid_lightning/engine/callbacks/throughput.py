"""What training costs."""

import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class Throughput(Callback):
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
        pl_module.log("train/images_per_second", self.images_per_second, sync_dist=True)

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
