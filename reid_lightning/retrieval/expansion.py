"""Queries made of several images: query expansion by their nearest gallery images, and one vector of several queries."""

import torch
from torch import Tensor

from reid_lightning.distances import Distance, promote, unit_vectors
from reid_lightning.errors import require
from reid_lightning.retrieval.matches import Matches
from reid_lightning.retrieval.neighbours import nearest


def expanded_queries(
    query: Tensor,
    gallery: Tensor,
    *,
    k: int = 5,
    alpha: float = 0.0,
    matches: Matches | None = None,
    distance: Distance = "cosine",
) -> Tensor:
    """Return each query averaged with its nearest gallery images.

    With `alpha` 0 all weigh the same (average query expansion, Chum et al. 2007, "Total recall"); otherwise an image weighs
    its cosine similarity, not below 0, to the power of `alpha`, and the query 1 (alpha query expansion, Radenović et al.
    2019, "Fine-tuning CNN image retrieval with no human annotation", section 3.2). Where the first images are right, a query
    sees more of its person; where they are wrong, it moves to somebody else.

    Args:
        query: (Q, D).
        gallery: (G, D).
        k: Gallery images that join; cut to those that there are. 0 changes nothing but the length.
        alpha: 0 or more.
        matches: Leaves out what the protocol leaves out; None leaves nothing out.
        distance: How neighbors are found, "cosine", "euclidean" or "sqeuclidean".

    Returns:
        (Q, D), of length 1 for "cosine".

    Raises:
        ValueError: k or alpha is negative, or shapes do not fit.
        InputError: A side is empty or not finite.

    Examples:
        >>> query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
        >>> expanded_queries(query, gallery, k=1)
        tensor([[0.7071, 0.7071]])
    """
    require(k >= 0, "k", ">= 0", k)
    require(alpha >= 0, "alpha", ">= 0", alpha)
    query, gallery = promote(query), promote(gallery)
    if distance == "cosine":
        query, gallery = unit_vectors(query), unit_vectors(gallery)
    if k == 0:
        return query
    found = nearest(query, gallery, k, matches, distance=distance)
    joined = gallery[found.indices.clamp(min=0)]  # (Q, k, D)
    weights = (found.indices >= 0).to(query.dtype)
    if alpha > 0:
        similarity = torch.cosine_similarity(query[:, None, :], joined, dim=2)
        weights = weights * similarity.clamp(min=0).pow(alpha)
    total = query + (weights[:, :, None] * joined).sum(dim=1)
    return unit_vectors(total) if distance == "cosine" else total / (1 + weights.sum(dim=1, keepdim=True))


def multi_query(query: Tensor, groups: Tensor, distance: Distance = "cosine") -> tuple[Tensor, Tensor]:
    """Return one query for several images of the same person, such as those of one camera: their mean vector.

    (Zheng et al. 2015, "Scalable person re-identification: a benchmark", section 4.2, average pooling.)

    Args:
        query: (Q, D).
        groups: (Q,) integers; images of one number are one query.
        distance: Of "cosine", vectors are scaled to length 1 before and after.

    Returns:
        (n, D) queries in the order of their numbers, and (n,) the first image of each, whose person and camera are the
        query's.

    Raises:
        ValueError: There is not one group for each query.

    Examples:
        >>> vectors, first = multi_query(torch.tensor([[1.0, 0.0], [0.0, 3.0], [0.0, 1.0]]), torch.tensor([4, 2, 4]))
        >>> vectors, first
        (tensor([[0.0000, 1.0000],
                [0.7071, 0.7071]]), tensor([1, 0]))
    """
    require(
        groups.shape == (len(query),), "groups", f"({len(query)},), one for each query", tuple(groups.shape)
    )
    vectors = promote(query)
    vectors = unit_vectors(vectors) if distance == "cosine" else vectors
    numbers, place, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    means = vectors.new_zeros(len(numbers), vectors.shape[1]).index_add_(0, place, vectors) / counts[:, None]
    rows = torch.arange(len(groups), device=groups.device)
    first = torch.full_like(numbers, len(groups)).scatter_reduce_(0, place, rows, "amin")
    return (unit_vectors(means) if distance == "cosine" else means), first
