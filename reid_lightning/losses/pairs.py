"""What losses over the pairs of a batch share: masks, means over them, and diagnostics."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

Indices = tuple[Tensor, Tensor, Tensor]


class TripletPerImage(NamedTuple):
    """Indices of triplets of which the i-th has image i as its anchor: no anchor needs to be gathered."""

    anchors: Tensor
    """(N,) 0, 1, ..., N - 1."""
    positives: Tensor
    """(N,)."""
    negatives: Tensor
    """(N,)."""


class Deferred(Mapping[str, Tensor]):
    """Scalars by name that are computed when they are first read: most steps of a training read none.

    Args:
        compute: Returns them; called once at most, without gradients.

    Examples:
        >>> scalars = Deferred(lambda: {"mean": torch.tensor([1.0, 3.0]).mean()})
        >>> dict(scalars)
        {'mean': tensor(2.)}
    """

    def __init__(self, compute: Callable[[], Mapping[str, Tensor]]) -> None:
        self._compute = compute

    @cached_property
    def _scalars(self) -> Mapping[str, Tensor]:
        with torch.no_grad():
            return self._compute()

    def __getitem__(self, name: str) -> Tensor:
        return self._scalars[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scalars)

    def __len__(self) -> int:
        return len(self._scalars)


def refuse_indices(loss: object, indices_tuple: Indices | None) -> None:
    """Refuse a miner's choice where a loss forms its own pairs.

    Raises:
        ValueError: There are indices.
    """
    if indices_tuple is not None:
        raise ValueError(
            f"{type(loss).__name__} forms its own pairs from the whole batch and takes no indices of a miner"
        )


def pair_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return which pairs show one person and which two, (N, N) boolean each; no image pairs with itself."""
    same = labels[:, None] == labels[None, :]
    return same.clone().fill_diagonal_(False), ~same


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average values where the mask is true; without any, a zero with a gradient."""
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)


def pair_diagnostics(
    distances: Tensor, positives: Tensor, negatives: Tensor, active_fraction: Tensor, embeddings: Tensor
) -> Deferred:
    """Return scalars that show collapse, of an (N, N) matrix and its two masks, which must not change afterwards."""
    return Deferred(
        lambda: {
            "active_fraction": active_fraction.detach(),
            "mean_ap_distance": masked_mean(distances.detach(), positives),
            "mean_an_distance": masked_mean(distances.detach(), negatives),
            "embedding_norm": mean_norm(embeddings),
        }
    )


def mean_norm(embeddings: Tensor) -> Tensor:
    """Return the mean Euclidean length of the rows, detached."""
    norms: Tensor = torch.linalg.vector_norm(embeddings.detach(), dim=1)
    return norms.mean()
