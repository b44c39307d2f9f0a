"""A moving average of the weights, which validation, checkpoints and test see instead of the last ones."""

from itertools import chain
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class EMA(WeightAveraging):
    """Exponential moving average of weights and batch statistics (Tarvainen and Valpola 2017, "Mean teachers").

    Early on the average is young and its decay small, `min(decay, (1 + n) / (10 + n))` after n steps: else the first
    weights would stay in it for thousands of steps. Lightning's callback swaps the average in for validation
    and for the end of training and writes it into checkpoints; here it also ends with the training, because afterwards
    Lightning would put the last weights into a test that loads a checkpoint.

    Args:
        decay: Share of the average that a step keeps, 0 to 1.

    Raises:
        ValueError: The decay is out of range.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.decay = decay
        super().__init__()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Pair the tensors of both models, once an epoch: walking over a deep network takes as long as averaging it."""
        assert self._average_model is not None
        average = self._average_model.module
        averages = chain(average.parameters(), average.buffers())
        pairs = zip(averages, chain(pl_module.parameters(), pl_module.buffers()), strict=True)
        kinds: tuple[list[tuple[Tensor, Tensor]], ...] = ([], [])
        for mean, current in pairs:
            kinds[mean.is_floating_point()].append((mean.detach(), current.detach()))
        self._groups = [tuple(map(list, zip(*kind, strict=True))) for kind in kinds if kind]

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the step into the average; Lightning's own update asks the device for its count and waits, twice a step."""
        assert self._average_model is not None
        if trainer.global_step > self._latest_update_step:
            for averages, currents in self._groups:
                self._update(averages, currents)
            self._average_model.n_averaged += 1
            self._latest_update_step = trainer.global_step

    def _update(self, averages: list[Tensor], currents: list[Tensor]) -> None:
        """Move tensors of one type toward the current ones; the first step is copied."""
        steps = self._latest_update_step
        if steps and averages[0].is_floating_point():
            torch._foreach_lerp_(averages, currents, 1 - min(self.decay, (1 + steps) / (10 + steps)))
        else:  # a count or a choice has no mean
            torch._foreach_copy_(averages, currents)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the average where the training is, not where the module still lies now."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let go of the average: the module holds it."""
        self._average_model = None

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up the average when training is resumed; a test takes the checkpoint's weights, which are the average."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
