"""Derivatives written out: less time and memory than autograd's own."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from reid_lightning.distances import exact_products, pairwise_distances


def distance_matrix(embeddings: Tensor, squared: bool = False) -> Tensor:
    """Return the (N, N) Euclidean distances, or their squares, of (N, D) embeddings; zero slope at zero.

    Examples:
        >>> distance_matrix(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        tensor([[0., 5.],
                [5., 0.]])
    """
    distances: Tensor = _DistanceMatrix.apply(embeddings, squared)
    return distances


class _DistanceMatrix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, squared: bool) -> Tensor:
        distances = pairwise_distances(embeddings, distance="sqeuclidean" if squared else "euclidean")
        ctx.save_for_backward(embeddings, distances)
        ctx.squared = squared
        return distances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        embeddings, distances = ctx.saved_tensors
        slopes = gradient + gradient.T  # d(a, b) and d(b, a) move with either vector
        if ctx.squared:
            slopes *= 2
        else:
            slopes = slopes.div_(distances).masked_fill_(distances == 0, 0)
        centered = embeddings - embeddings.mean(
            dim=0
        )  # the sum below is a difference, exact for small vectors
        with exact_products(embeddings.device):
            return centered * slopes.sum(dim=1, keepdim=True) - slopes @ centered, None


def with_slopes(value: Tensor, inputs: Tensor, slopes: Tensor) -> Tensor:
    """Return a known value as a function of inputs in which its slopes are known, too.

    Args:
        value: Scalar.
        inputs: Any shape, part of the graph.
        slopes: Derivatives of the value, shape of the inputs; constants, so that there is no second derivative.

    Examples:
        >>> inputs = torch.tensor([1.0, 3.0], requires_grad=True)
        >>> with_slopes(torch.tensor(9.0), inputs, torch.tensor([0.0, 6.0])).backward()
        >>> inputs.grad
        tensor([0., 6.])
    """
    known: Tensor = _WithSlopes.apply(value, inputs, slopes)
    return known


class _WithSlopes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, inputs: Tensor, slopes: Tensor) -> Tensor:
        ctx.slopes = slopes  # neither input nor output of the graph, so that nothing needs to be saved for it
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        return None, gradient * ctx.slopes, None
