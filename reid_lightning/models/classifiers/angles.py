"""What classifiers with an angular margin share: cosines, the monotone multiple angle, and its annealing."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def cosines(features: Tensor, weight: Tensor) -> Tensor:
    """Return (B, C) cosines of (B, D) features to (C, D) weights; a zero vector has cosine 0 and no gradient.

    Half types are computed in float32, whatever the autocast state: a scale of 64 would multiply their rounding.
    """
    features, weight = _promote(features), _promote(weight)
    with torch.autocast(features.device.type, enabled=False):
        return functional.linear(_unit(features), _unit(weight)).clamp(-1, 1)


def lengths(vectors: Tensor) -> Tensor:
    """Return (B,) lengths of the rows, in float32 or better."""
    return torch.linalg.vector_norm(_promote(vectors), dim=1)


def with_target(logits: Tensor, labels: Tensor, target: Tensor) -> Tensor:
    """Return (B, C) logits with the true identity's replaced by (B,) `target`."""
    return logits.scatter(1, labels[:, None], target[:, None])


def multiple_angle(cosine: Tensor, multiple: int) -> Tensor:
    """Return `psi(theta) = (-1)^k cos(m theta) - 2k` for `k pi / m <= theta <= (k + 1) pi / m` (Liu et al. 2016, eq. 6).

    It falls from 1 to 1 - 2m over theta from 0 to pi, without a jump. Written as a polynomial of the cosine,
    which has a finite slope where the arc cosine has none.

    Args:
        cosine: Cosines of theta, any shape.
        multiple: m, 1 or more.

    Examples:
        >>> multiple_angle(torch.tensor([1.0, 0.0, -1.0]), multiple=4)
        tensor([ 1., -3., -7.])
    """
    before, value = torch.ones_like(cosine), cosine
    for _ in range(multiple - 1):
        before, value = (
            value,
            2 * cosine * value - before,
        )  # cos((n + 1) t) = 2 cos t cos(n t) - cos((n - 1) t)
    piece = torch.zeros_like(cosine)
    for k in range(1, multiple):
        piece = piece + (cosine.detach() <= math.cos(k * math.pi / multiple))
    return (1 - 2 * (piece % 2)) * value - 2 * piece


class Annealing(nn.Module):
    """Weight of the plain logit beside the one with the margin, which alone does not start to converge.

    `lambda = max(minimum, start / (1 + decay * batches))`, in `(lambda plain + margin) / (1 + lambda)` (Liu et al.
    2016, Sec. 5.1; 2017, appendix). Counts the batches that it is used for in training mode; the count is
    in the checkpoint.

    Args:
        start: lambda of the first batch.
        decay: Fall per batch.
        minimum: lambda in the end.

    Examples:
        >>> annealing, zero, one = Annealing(start=9.0, decay=2.0, minimum=1.0), torch.tensor(0.0), torch.tensor(1.0)
        >>> torch.stack([annealing(one, zero) for _ in range(3)])  # lambda 9, 3, 9 / 5
        tensor([0.9000, 0.7500, 0.6429])
    """

    batches: Tensor

    def __init__(self, start: float, decay: float, minimum: float) -> None:
        super().__init__()
        self.start, self.decay, self.minimum = start, decay, minimum
        self.register_buffer("batches", torch.tensor(0))

    def forward(self, plain: Tensor, margin: Tensor) -> Tensor:
        """Return the annealed mean of (B,) plain logits and (B,) logits with a margin."""
        weight = (self.start / (1 + self.decay * self.batches)).clamp(min=self.minimum).to(plain.dtype)
        if self.training:
            self.batches += 1
        return (weight * plain + margin) / (1 + weight)


def _promote(vectors: Tensor) -> Tensor:
    return vectors if vectors.dtype == torch.float64 else vectors.float()


def _unit(vectors: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    # Shorter than this is zero: the slope 1 / norm would multiply a scale and a gradient beyond float32.
    nonzero = norms > 1e-12
    return vectors * torch.where(nonzero, 1 / torch.where(nonzero, norms, 1), 0)
