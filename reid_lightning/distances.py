"""Distances between embeddings and between stripes of them, and the guard that keeps their products exact."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from reid_lightning.errors import require

Distance = Literal["euclidean", "sqeuclidean", "cosine"]


def exact_products(device: torch.device) -> AbstractContextManager[None]:
    """Compute matrix products in the precision of their inputs: no autocast, no TF32, no bfloat16 passes.

    A distance is a small difference of large numbers; rounded to ten bits it is noise.
    """
    try:
        legacy = torch.get_float32_matmul_precision()
    except RuntimeError:  # set by the newer of torch's two interfaces
        legacy = None
    if legacy == "highest" and not torch.is_autocast_enabled(device.type):
        return nullcontext()  # nothing to change, which is the case in every training step in float32
    return _exact_products(device, legacy)


@contextmanager
def _exact_products(device: torch.device, legacy: str | None) -> Iterator[None]:
    # torch has two interfaces to one setting and refuses products when they disagree: the older one, used by
    # Lightning's users, sets both, so it goes first and the newer one restores what it does not know.
    backends: list[Any] = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device_type=device.type, enabled=False):
            yield
    finally:
        if legacy is not None:
            torch.set_float32_matmul_precision(legacy)
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def promote(features: Tensor) -> Tensor:
    """Return float32 for half types and integers, float32 and float64 unchanged."""
    return features if features.dtype in (torch.float32, torch.float64) else features.float()


def unit_vectors(features: Tensor) -> Tensor:
    """Scale each row to length 1; a zero row stays zero and passes no gradient.

    Examples:
        >>> unit_vectors(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    norms = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    nonzero = norms > 0
    # Division by a small epsilon instead would give a zero row a gradient of 1 / epsilon.
    return features * torch.where(nonzero, 1 / torch.where(nonzero, norms, 1), 0)


def pairwise_distances(x: Tensor, y: Tensor | None = None, distance: Distance = "euclidean") -> Tensor:
    """Return the distance of every row of `x` to every row of `y`.

    Half types are computed in float32, float64 stays float64, whatever the autocast state.
    The gradient is finite everywhere, and zero where two vectors coincide.

    Args:
        x: Embeddings of shape (N, D).
        y: Embeddings of shape (M, D); `x` itself when left out.
        distance: "euclidean", "sqeuclidean" (its square) or "cosine" (1 - cosine similarity, in [0, 2]; a zero
            vector is at distance 1 from everything).

    Returns:
        Distances of shape (N, M), not negative.

    Raises:
        ValueError: The distance is unknown, or the shapes do not fit.

    Examples:
        >>> pairwise_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        tensor([[0., 5.],
                [5., 0.]])
    """
    require(distance in get_args(Distance), "distance", f"one of {', '.join(get_args(Distance))}", distance)
    y = x if y is None else y
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(
            f"x and y must be tables of embeddings with equally many columns, got shapes {tuple(x.shape)} and "
            f"{tuple(y.shape)}"
        )
    x, y = promote(x), promote(y)
    with exact_products(x.device):
        if distance == "cosine":
            return (1 - unit_vectors(x) @ unit_vectors(y).T).clamp(0, 2)
        return _euclidean(x, y, squared=distance == "sqeuclidean")


def _euclidean(x: Tensor, y: Tensor, squared: bool) -> Tensor:
    """Return (..., N, M) distances of the rows of (..., N, D) and (..., M, D)."""
    # Distances do not change under a shift, but the rounding of |x|² + |y|² - 2xy does: centered embeddings
    # keep their digits even when all of them lie close together, far from the origin.
    if x.shape[-2]:
        center = x.detach().mean(dim=-2, keepdim=True)
        x, y = x - center, y - center
    scale = x.square().sum(dim=-1)[..., :, None] + y.square().sum(dim=-1)[..., None, :]
    distances = (scale - 2 * (x @ y.mT)).clamp(min=0)
    if squared:
        return distances
    # Below its own rounding error a squared distance is zero, and the root has no slope there.
    coincident = distances <= 4 * torch.finfo(distances.dtype).eps * scale
    return torch.where(coincident, 0, torch.where(coincident, 1, distances).sqrt())


def aligned_distances(x: Tensor, y: Tensor | None = None) -> Tensor:
    """Return the distance of people cut into stripes, their stripes aligned from top to bottom (AlignedReID).

    Stripes are `d_ij = (e^u - 1) / (e^u + 1) = tanh(u / 2)` apart, u their Euclidean distance (Zhang et al. 2017,
    "AlignedReID", eq. 1); people are as far apart as the shortest path through these distances is long (eq. 2). It passes
    the pairs of stripes that look alike wherever they lie: a box shifted by a stripe costs one pair, not all of them.
    On its way it crosses pairs of neighbors, so a person is not at distance 0 from himself. The gradient is finite
    everywhere.

    Args:
        x: (..., N, S, d) features of S stripes from top to bottom.
        y: (..., M, S, d); `x` itself when left out.

    Returns:
        (..., N, M) between 0 and 2 S - 1.

    Raises:
        ValueError: The shapes do not fit.

    Examples:
        >>> person = torch.tensor([[[0.0], [90.0], [180.0]]])
        >>> shifted = torch.tensor([[[90.0], [180.0], [270.0]]])
        >>> aligned_distances(person, torch.cat([person, shifted, person + 400]))
        tensor([[2., 3., 5.]])
    """
    y = x if y is None else y
    if x.ndim < 3 or x.shape[:-3] != y.shape[:-3] or x.shape[-2:] != y.shape[-2:]:
        raise ValueError(
            f"x and y must have shape (N, stripes, dimensions) with equally many stripes and dimensions, got "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    with exact_products(x.device):
        apart = _euclidean(promote(x).flatten(-3, -2), promote(y).flatten(-3, -2), squared=False)
    costs = (apart / 2).tanh()
    costs = costs.view(*x.shape[:-1], *y.shape[-3:-1])  # (..., N, S, M, S)
    return shortest_path(costs.transpose(-3, -2))


def shortest_path(costs: Tensor) -> Tensor:
    """Return the length of the shortest path from the first to the last cell, each step right or down.

    A cell's path is its cost and the shorter of the paths to its left and upper neighbors (Zhang et al. 2017, eq. 2).
    Neighbors lie on the anti-diagonal before, so all matrices advance together by one anti-diagonal at a time.

    Args:
        costs: (..., H, H).

    Returns:
        (...) lengths; where two paths are equally short, either takes half of the gradient.

    Examples:
        >>> shortest_path(torch.tensor([[1.0, 9.0, 1.0], [1.0, 9.0, 1.0], [1.0, 1.0, 1.0]]))
        tensor(5.)
    """
    size = costs.shape[-1]
    mirrored = costs.flip(-1)
    path = mirrored.diagonal(size - 1, -2, -1)
    for step in range(1, 2 * size - 1):
        if step < size:  # the anti-diagonals grow: their ends have one neighbor
            path = functional.pad(path, (1, 1), value=torch.inf)
        path = torch.minimum(path[..., 1:], path[..., :-1]) + mirrored.diagonal(size - 1 - step, -2, -1)
    return path.squeeze(-1)
