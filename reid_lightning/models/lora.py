"""Low-rank adaptation: weights stay as they are loaded, and each learns a change of low rank (Hu et al. 2021, LoRA)."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

log = logging.getLogger("reid_lightning")

# What timm's transformers call the linear layers of attention and MLP.
TARGETS = ("qkv", "q", "k", "v", "kv", "q_proj", "k_proj", "v_proj", "proj", "fc1", "fc2", "fc1_g", "fc1_x")
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


class LowRankChange(nn.Module):
    """A weight plus `alpha / rank * up @ down` (Hu et al. 2021, eq. 3); it starts as no change.

    Args:
        shape: (O, I) of a linear layer, or (O, I, 1, 1) of a convolution.
        rank: Rows of `down`, columns of `up`.
        alpha: Scale of the change.
    """

    def __init__(self, shape: Sequence[int], rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.empty(rank, math.prod(shape[1:])))
        self.up = nn.Parameter(torch.zeros(shape[0], rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight, of the same shape."""
        return weight + self.scale * (self.up @ self.down).view_as(weight)


def add_lora(
    body: nn.Module, rank: int = 8, alpha: float = 16.0, targets: Sequence[str] = TARGETS
) -> list[str]:
    """Freeze a body but for its normalization layers, and give its linear layers and 1 x 1 convolutions a low-rank change.

    The change is a parametrization of the weight, so that models which read the weight of a layer itself, as BEiT, see
    it too.

    Args:
        body: With its weights loaded.
        rank: Rank of the change, at least 1.
        alpha: Scale of the change, above 0; the change counts alpha / rank.
        targets: Last parts of the names of the layers.

    Returns:
        The names of the changed layers.

    Raises:
        ValueError: A value is out of range, or no layer has such a name.
    """
    if rank < 1 or alpha <= 0:
        raise ValueError(f"lora must have rank >= 1 and alpha > 0, got rank {rank} and alpha {alpha}")
    able = {name: module for name, module in body.named_modules() if _is_linear(module)}
    chosen = {name: module for name, module in able.items() if name.rpartition(".")[2] in targets}
    if not chosen:
        names = sorted({name.rpartition(".")[2] for name in able if not name.rpartition(".")[2].isdigit()})
        raise ValueError(
            f"lora must have targets among the linear layers of this backbone ({', '.join(names) or 'it has none'}), got "
            f"{', '.join(targets)}"
        )
    body.requires_grad_(False)
    for module in body.modules():
        if isinstance(module, _NORMS):
            module.requires_grad_(True)
    for module in chosen.values():
        weight: Any = module.weight
        parametrize.register_parametrization(module, "weight", LowRankChange(weight.shape, rank, alpha))
    counts = [(p.numel(), p.requires_grad) for p in body.parameters()]
    trained, total = sum(n for n, trains in counts if trains), sum(n for n, _ in counts)
    log.info(
        "LoRA of rank %d in %d layers: %d of %d parameters of the backbone are trained (%.2f %%)",
        rank, len(chosen), trained, total, 100 * trained / total,
    )  # fmt: skip
    return list(chosen)


def merge_lora(module: nn.Module) -> None:
    """Put all low-rank changes into their weights: the same features, under the names and at the cost of the plain model."""
    for layer in list(module.modules()):
        if parametrize.is_parametrized(layer, "weight") and any(
            isinstance(change, LowRankChange)
            for change in layer.parametrizations["weight"]  # type: ignore[index]
        ):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))
