"""The weights that a training starts from as a candidate for its best checkpoint."""

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class StartModelCheckpoint(ModelCheckpoint):
    """A `ModelCheckpoint` that also judges the start, where a task has prepared the first epoch from it.

    A training without labels may lead away from a good start. With this callback, the best checkpoint is never one that the
    watched number says is worse than the start. A number that the start has not, such as a comparison with the epoch before,
    leaves it out.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the start as the best checkpoint so far."""
        super().on_train_start(trainer, pl_module)
        numbers: dict[str, float] = getattr(pl_module, "start_numbers", {})  # empty in a resumed run
        if trainer.fast_dev_run or self.monitor is None or self.monitor not in numbers:  # type: ignore[attr-defined]
            return
        score = torch.tensor(numbers[self.monitor])
        path = self.format_checkpoint_name(
            {"epoch": torch.tensor(0), "step": torch.tensor(0), self.monitor: score}
        )
        self.best_model_path = self.kth_best_model_path = path
        self.best_model_score = self.kth_value = self.current_score = score
        self.best_k_models = {path: score}
        trainer.save_checkpoint(path, self.save_weights_only)
