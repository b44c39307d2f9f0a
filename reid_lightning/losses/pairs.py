"""What losses over the pairs of a batch share: masks, means over them, and diagnostics."""

import torch
from torch import Tensor

Indices = tuple[Tensor, Tensor, Tensor]


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
) -> dict[str, Tensor]:
    """Return detached scalars that show collapse, of an (N, N) matrix and its two masks."""
    distances = distances.detach()
    return {
        "active_fraction": active_fraction.detach(),
        "mean_ap_distance": masked_mean(distances, positives),
        "mean_an_distance": masked_mean(distances, negatives),
        "embedding_norm": mean_norm(embeddings),
    }


def mean_norm(embeddings: Tensor) -> Tensor:
    """Return the mean Euclidean length of the rows, detached."""
    norms: Tensor = torch.linalg.vector_norm(embeddings.detach(), dim=1)
    return norms.mean()
