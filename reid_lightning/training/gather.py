"""One batch out of the shares of all processes, with gradients."""

from typing import Any

import torch
from torch import Tensor, distributed


class _Join(torch.autograd.Function):
    """Gathers forward; backward, adds up what every process has computed about this one's share."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        context.length = len(tensor)
        parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous()
        distributed.all_reduce(gradient)
        start = distributed.get_rank() * context.length
        return gradient[start : start + context.length]


def join_ranks(tensor: Tensor) -> Tensor:
    """Concatenate a tensor of all processes along dimension 0, in the order of ranks; alone, return it.

    Every process then computes the same loss over the joined batch. The gradient of a share is the sum over
    processes, and DistributedDataParallel's mean over processes makes it that of one process with the whole batch.

    Args:
        tensor: (B, ...) of equal shape on all processes.

    Returns:
        (processes x B, ...), differentiable.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return tensor
    joined: Tensor = _Join.apply(tensor)
    return joined
