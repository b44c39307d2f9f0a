"""Batch normalization over the images of all processes, on CPUs and GPUs.

torch synchronizes on GPUs only, and its conversion drops the activation that timm's normalizations carry. Here a module
changes its class and back again: parameters, buffers, hooks and names in checkpoints stay as they are.
"""

from functools import cache
from typing import Any

import torch
from lightning.pytorch.plugins import LayerSync
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

_TIMM = ("drop", "act")  # what timm's normalizations apply to their result


class _Normalize(torch.autograd.Function):
    """Normalizes by the mean and variance of all processes; returns these and the number of values, too."""

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dims = [0, *range(2, x.dim())]
        count = x.numel() // x.shape[1]
        # Sums of squares of float64 from accurate local variances: nothing is lost where the mean is large.
        variance, mean = (each.double() for each in torch.var_mean(_full(x), dims, correction=0))
        sums = torch.cat([mean * count, (variance + mean.square()) * count, mean.new_full((1,), count)])
        distributed.all_reduce(sums)
        total = sums[-1]
        mean, square = (sums[:-1] / total).chunk(2)
        variance = (square - mean.square()).clamp(min=0)
        context.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps), total)
        context.mark_non_differentiable(mean, variance, total)
        precision = _full(x[:0]).dtype
        y = functional.batch_norm(x, mean.to(precision), variance.to(precision), weight, bias, eps=eps)
        return y, mean, variance, total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, total = context.saved_tensors
        dtype = x.dtype
        shape, dims = (1, x.shape[1], *[1] * (x.dim() - 2)), [0, *range(2, x.dim())]
        x, gradient = _full(x), _full(gradient)
        scale = scale.to(x)
        normal = (x - mean.to(x).view(shape)) * scale.view(shape)
        for_bias, for_weight = gradient.sum(dims), (gradient * normal).sum(dims)
        sums = torch.cat([for_bias, for_weight]).double()
        distributed.all_reduce(sums)
        mean_gradient, mean_product = ((sums / total).to(x).view(2, *shape)).unbind()
        factor = scale if weight is None else scale * weight
        inner = (gradient - mean_gradient - normal * mean_product) * factor.view(shape)
        # Those of weight and bias are of this process alone: DistributedDataParallel adds them up.
        return (
            inner.to(dtype),
            None if weight is None else for_weight.to(weight.dtype),
            None if weight is None else for_bias.to(weight.dtype),
            None,
        )


def _full(x: Tensor) -> Tensor:
    """Return a tensor in float32, or in float64 where it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class _OnCPU(_BatchNorm):
    """Batch normalization whose training statistics are those of all processes."""

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor) -> Tensor:
        """Normalize (B, C, ...); B may differ between processes."""
        alone = not distributed.is_initialized() or distributed.get_world_size() == 1
        if alone or not self.training:
            return _BatchNorm.forward(self, x)  # and not that of the class in whose place it stands
        y, mean, variance, total = _Normalize.apply(x, self.weight, self.bias, self.eps)
        if self.running_mean is not None and self.running_var is not None:
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum  # type: ignore[operator]
            self.running_mean.lerp_(mean.to(self.running_mean), share)
            unbiased = variance * total / (total - 1).clamp(min=1)
            self.running_var.lerp_(unbiased.to(self.running_var), share)
        return y

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept what the class that it stands for accepts."""


@cache
def _synchronized(kind: type[_BatchNorm], base: type[_BatchNorm]) -> type[_BatchNorm]:
    """Return the class that a module of a class changes to."""

    def forward(self: Any, x: Tensor) -> Tensor:
        y: Tensor = base.forward(self, x)
        for name in _TIMM:
            if name in self._modules:
                y = self._modules[name](y)
        return y

    members = {"forward": forward, "plain": kind, "process_group": None}
    return type(f"Synchronized{kind.__name__}", (base, kind), members)


class SynchronizedBatchNorm(LayerSync):
    """Lets the batch normalizations of a model see the images of all processes while it is trained.

    Two processes then train what one would with the same batches, up to rounding: equal to 1e-5 after a step in float32.

    Args:
        on_gpu: Use torch's own kernels, which exist on GPUs only.
    """

    def __init__(self, on_gpu: bool) -> None:
        self._base: type[_BatchNorm] = nn.SyncBatchNorm if on_gpu else _OnCPU

    def apply(self, model: nn.Module) -> nn.Module:
        """Synchronize all batch normalizations of a model, in place."""
        for module in model.modules():
            if isinstance(module, _BatchNorm) and not isinstance(module, (nn.SyncBatchNorm, _OnCPU)):
                module.__class__ = _synchronized(type(module), self._base)  # type: ignore[arg-type]
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Undo `apply`."""
        for module in model.modules():
            if isinstance(module, self._base) and hasattr(type(module), "plain"):
                module.__class__ = type(module).plain  # type: ignore[attr-defined]
        return model
