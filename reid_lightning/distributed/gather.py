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


def all_gather_with_grad(tensor: Tensor) -> Tensor:
    """Concatenate a tensor of all processes along dimension 0, in the order of ranks; alone, return it.

    Every process then computes the same loss over the joined batch. The gradient of a share is the sum over
    processes, and DistributedDataParallel's mean over processes makes it that of one process with the whole batch.

    Args:
        tensor: (B, ...) of equal shape on all processes.

    Returns:
        (processes x B, ...), differentiable.
    """
    if _alone():
        return tensor
    joined: Tensor = _Join.apply(tensor)
    return joined


def mean_over_processes(tensor: Tensor) -> Tensor:
    """Return the mean of a tensor that every process has, without gradients; alone, return it."""
    if _alone():
        return tensor
    total = tensor.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def _alone() -> bool:
    return (
        not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1
    )


def gather_rows(rows: Tensor, group: Any = None) -> list[Tensor]:
    """Gather tables of uneven length from all processes, in the order of ranks.

    torchmetrics gives a process without rows an empty float vector, whose shape and type differ from the
    others' and break its own gathering; here the others say what the table looks like.
    """
    described: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(described, (tuple(rows.shape), rows.dtype), group)
    lengths = [shape[0] for shape, _ in described]
    if not max(lengths):
        return [rows] * len(lengths)
    shape, dtype = described[lengths.index(max(lengths))]
    padded = torch.zeros(shape, dtype=dtype, device=rows.device)
    if len(rows):
        padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in lengths]
    distributed.all_gather(gathered, padded, group)
    return [part[:length] for part, length in zip(gathered, lengths, strict=True)]
