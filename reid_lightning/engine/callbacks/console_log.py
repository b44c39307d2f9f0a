"""A line per epoch on the console."""

import time

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only


class ConsoleLog(Callback):
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
