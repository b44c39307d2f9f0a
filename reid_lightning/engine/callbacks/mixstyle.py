"""Training in which the images of a batch lend each other their style."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from reid_lightning.errors import require
from reid_lightning.models.mixstyle import mix_style


class MixStyle(Callback):
    """Mixes the statistics of channels between the images of a batch, after early layers (Zhou et al. 2021, "MixStyle").

    A network then leans less on light, color and camera, and may do better on cameras that it has never seen. It costs no
    weights, and validation, test and a trained model know nothing of it. Partners are found among the images of the
    own process. What is drawn follows from the run's seed, the epoch, the step and the process, so that a resumed run draws
    what the uninterrupted one drew; several processes draw others than one.

    Args:
        seed: The run's seed.
        probability: Of a batch, that it is mixed, 0 to 1.
        alpha: Of the Beta distribution that each image's own share is drawn from, above 0; small ones mix little.
        layers: Depths of the backbone after which maps are mixed, from 0 (the stem); of a ResNet then block by block.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self, seed: int, probability: float = 0.5, alpha: float = 0.1, layers: Sequence[int] = (1, 2)
    ) -> None:
        require(0 <= probability <= 1, "probability", ">= 0 and <= 1", probability)
        require(alpha > 0, "alpha", "> 0", alpha)
        require(bool(layers) and min(layers) >= 0, "layers", "one depth or more, each >= 0", layers)
        self.seed, self.probability, self.alpha = seed, probability, alpha
        self.layers = sorted(set(layers))
        self._draw: np.random.Generator | None = None
        self._hooks: list[Any] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the layers.

        Raises:
            ValueError: The backbone has not as many.
        """
        backbone: Any = pl_module.network.backbone  # type: ignore[union-attr]
        depths = list(backbone.depths)
        if self.layers[-1] >= len(depths):
            raise ValueError(
                f"layers must be 0 to {len(depths) - 1}, the depths of this backbone, got {self.layers}"
            )
        self._hooks = [depths[layer].register_forward_hook(self._mix) for layer in self.layers]

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Draw for this step."""
        place = (self.seed % 2**32, trainer.current_epoch, batch_idx, trainer.global_rank)
        self._draw = np.random.default_rng(place)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Mix nothing outside of a step."""
        self._draw = None

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the network as it was."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _mix(self, module: torch.nn.Module, inputs: Any, maps: Tensor) -> Tensor:
        if self._draw is None or not module.training:
            return maps
        if not isinstance(maps, Tensor) or maps.ndim != 4:
            raise ValueError(
                "this backbone gives no feature maps that could be mixed; leave callbacks.mixstyle out, or choose a "
                "convolutional backbone"
            )
        if self._draw.random() >= self.probability:
            return maps
        order = torch.from_numpy(self._draw.permutation(len(maps)))
        weights = torch.from_numpy(self._draw.beta(self.alpha, self.alpha, len(maps)))
        device = maps.device
        return mix_style(maps, order.to(device, non_blocking=True), weights.to(device, non_blocking=True))
