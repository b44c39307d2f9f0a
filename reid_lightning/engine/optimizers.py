"""Optimizers over parameter groups."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import nn

from reid_lightning.errors import InputError, require

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


class OptimizerFactory:
    """Makes the optimizer of a run from its network and objective: `factory(network, objective)`.

    Args:
        optimizer: The optimizer's class with its own arguments, completed with parameter groups and `lr`.
        lr: Learning rate.
        weight_decay: Decay per step, times the learning rate where the optimizer decouples it.
        decay_norms_and_biases: Also decay normalization weights and biases.
        backbone_factor: Factor of the learning rate for the backbone.
        head_factor: Factor for everything else: pooling, neck, classifier and losses with weights.
        layer_decay: Factor per layer of the backbone, counted from the last; 1 is none (Clark et al. 2020, ELECTRA).
    """

    def __init__(
        self,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
        lr: float = 3.5e-4,
        weight_decay: float = 5e-2,
        decay_norms_and_biases: bool = False,
        backbone_factor: float = 1.0,
        head_factor: float = 1.0,
        layer_decay: float = 1.0,
    ) -> None:
        require(lr > 0, "lr", "> 0", lr)
        require(0 < layer_decay <= 1, "layer_decay", "> 0 and <= 1", layer_decay)
        self.optimizer = optimizer
        self.lr, self.weight_decay = lr, weight_decay
        self.decay_norms_and_biases = decay_norms_and_biases
        self.backbone_factor, self.head_factor, self.layer_decay = backbone_factor, head_factor, layer_decay

    def __call__(self, network: nn.Module, objective: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer over all trainable parameters of both."""
        groups = self.groups(network, objective)
        if not groups:
            raise InputError(
                "every parameter is frozen: nothing can be trained; lower backbone.frozen_layers"
            )
        return self.optimizer(groups, lr=self.lr)

    def groups(self, network: nn.Module, objective: nn.Module) -> list[dict[str, Any]]:
        """Return the parameter groups: one per learning-rate factor and decay, each parameter in exactly one."""
        factors = self._backbone_factors(network)
        undecayed = set() if self.decay_norms_and_biases else _norms_and_biases(network, objective)
        grouped: dict[tuple[float, float], list[nn.Parameter]] = {}
        for parameter in dict.fromkeys([*network.parameters(), *objective.parameters()]):
            if parameter.requires_grad:
                factor = factors.get(parameter, self.head_factor)
                decay = 0.0 if parameter in undecayed else self.weight_decay
                grouped.setdefault((factor, decay), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": self.lr * factor,
                "weight_decay": decay,
                "name": f"x{factor:g}, decay {decay:g}",
            }
            for (factor, decay), parameters in grouped.items()
        ]

    def _backbone_factors(self, network: nn.Module) -> dict[nn.Parameter, float]:
        backbone: Any = getattr(network, "backbone", None)
        if backbone is None:
            return {}
        factors = dict.fromkeys(backbone.parameters(), self.backbone_factor)
        if self.layer_decay < 1:
            layers = backbone.layers
            for depth, layer in enumerate(layers):
                factor = self.backbone_factor * self.layer_decay ** (len(layers) - 1 - depth)
                factors |= dict.fromkeys(layer.parameters(), factor)
        return factors


def _norms_and_biases(*parts: nn.Module) -> set[nn.Parameter]:
    found = set()
    for module in chain.from_iterable(part.modules() for part in parts):
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, _NORMS) or name == "bias" or parameter.ndim < 2:
                found.add(parameter)
    return found
