"""One embedding per tracklet: the images of one walk past one camera, taken together (MARS and other video sets)."""

import torch
from torch import Tensor

from reid_lightning.distances import unit_vectors
from reid_lightning.errors import InputError


def pool_tracklets(embeddings: Tensor, tracklets: Tensor, normalize: bool = True) -> tuple[Tensor, Tensor]:
    """Average the embeddings of each tracklet.

    Args:
        embeddings: (N, D).
        tracklets: (N,) integer tracklets; a negative number marks an image that stays alone.
        normalize: Scale the embeddings to length 1 before they are averaged, and the mean again.

    Returns:
        Means (T, D) and the row (T,) of each tracklet's first image, rising.

    Raises:
        InputError: The lengths differ.

    Examples:
        >>> embeddings = torch.tensor([[4.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.0, 9.0]])
        >>> pool_tracklets(embeddings, torch.tensor([5, -1, 5, 2]))
        (tensor([[0.7071, 0.7071],
                [1.0000, 0.0000],
                [0.0000, 1.0000]]), tensor([0, 1, 3]))
    """
    if tracklets.shape != embeddings.shape[:1]:
        raise InputError(
            f"tracklets has shape {tuple(tracklets.shape)} beside {len(embeddings)} embeddings; give one value each."
        )
    rows = torch.arange(len(tracklets), device=tracklets.device)
    alone = tracklets < 0
    # Numbers of their own for the images that stay alone, beyond all others.
    keys = torch.where(alone, tracklets.amax() + 1 + rows, tracklets) if len(rows) else tracklets
    _, groups = torch.unique(keys, return_inverse=True)
    first = rows.new_full((int(groups.max()) + 1 if len(rows) else 0,), len(rows))
    first = first.scatter_reduce(0, groups, rows, "amin")
    if normalize:
        embeddings = unit_vectors(embeddings)
    sums = embeddings.new_zeros(len(first), embeddings.shape[1]).index_add_(0, groups, embeddings)
    means = sums / torch.bincount(groups, minlength=len(first))[:, None]
    if normalize:
        means = unit_vectors(means)
    order = first.argsort()
    return means[order], first[order]
