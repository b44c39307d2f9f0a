"""A backbone that stays as it was loaded while the new layers settle."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class FreezeBackbone(Callback):
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
