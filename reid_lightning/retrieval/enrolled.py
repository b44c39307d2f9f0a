"""Vectors of enrolled people: checked, each image once, and one vector per person."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from reid_lightning.distances import Distance, pairwise_distances, unit_vectors
from reid_lightning.errors import InputError

PerPerson = Literal["all", "mean"]
SAME = 1e-3  # of a vector's length: nearer vectors are of one image, computed in another batch or on another device
CANCELLED = 1e-6  # length of a mean of unit vectors below which it has no direction


def person_means(vectors: Tensor, shown: Tensor, distance: Distance) -> Tensor:
    """Return the mean of each person's vectors.

    Under the cosine distance each image counts as a unit vector, so that all weigh the same, and so is the mean. If the
    vectors of a person cancel out, the first image stands for the person.

    Args:
        vectors: (N, D).
        shown: (N,) int64 person of each, from 0; none is left out.
        distance: How they are compared.

    Returns:
        (P, D).

    Examples:
        >>> person_means(torch.tensor([[2.0, 0.0], [0.0, 9.0], [0.0, 3.0]]), torch.tensor([0, 0, 1]), "cosine")
        tensor([[0.7071, 0.7071],
                [0.0000, 1.0000]])
        >>> person_means(torch.tensor([[2.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 0]), "euclidean")
        tensor([[1.0000, 4.5000]])
    """
    rows = (unit_vectors(vectors) if distance == "cosine" else vectors).double()
    people = int(shown.max()) + 1
    counts = torch.bincount(shown, minlength=people)
    means = rows.new_zeros(people, rows.shape[1]).index_add_(0, shown, rows)
    means /= counts[:, None]
    if distance == "cosine":
        gone = torch.linalg.vector_norm(means, dim=1) < CANCELLED
        first = torch.full_like(counts, len(rows)).scatter_reduce_(
            0, shown, torch.arange(len(rows), device=rows.device), "amin"
        )
        means[gone] = rows[first[gone]]
        means = unit_vectors(means)
    return means.float()


def same_images(queries: Tensor, vectors: Tensor, distance: Distance) -> Tensor:
    """Tell which queries are the very image that stands beside them.

    Args:
        queries: (Q, D).
        vectors: (Q, D).
        distance: How they are compared.

    Returns:
        (Q,) bool: whether the two differ by no more than rounding.
    """
    if distance == "cosine":
        queries, vectors = unit_vectors(queries), unit_vectors(vectors)
    same: Tensor = (queries - vectors).square().sum(dim=1) <= SAME**2 * vectors.square().sum(dim=1)
    return same


def nearest_images(
    queries: Tensor, people: Tensor, vectors: Tensor, shown: Tensor, distance: Distance
) -> tuple[Tensor, Tensor]:
    """Return the image of each candidate that is nearest to the query.

    Args:
        queries: (Q, D).
        people: (Q, n) int64 candidates, -1 where there is no more.
        vectors: (N, D) of images.
        shown: (N,) int64 person of each image.
        distance: How they are compared.

    Returns:
        (Q, n) row of the image, -1 where there is no candidate; and its distance, infinite there.
    """
    rows, distances = torch.full_like(people, -1), torch.full(people.shape, torch.inf)
    for person in people[people >= 0].unique().tolist():
        images = (shown == person).nonzero()[:, 0]
        asked, place = (people == person).nonzero(as_tuple=True)
        nearest = pairwise_distances(queries[asked], vectors[images], distance).min(dim=1)
        rows[asked, place], distances[asked, place] = images[nearest.indices], nearest.values
    return rows, distances


def refuse_duplicates(vectors: Tensor, names: Sequence[str], images: Sequence[str]) -> None:
    """Raise where an image stands twice: it would vote twice, or for two people.

    Raises:
        InputError: It does.
    """
    keys: dict[bytes | str, int] = {}
    for row, (vector, image) in enumerate(zip(vectors.numpy(), images, strict=True)):
        for key in (vector.tobytes(), *([image] if image else [])):
            other = keys.setdefault(key, row)
            if other != row:
                raise InputError(
                    f"{image or f'Image {row}'} of {names[row]} is enrolled already, as "
                    f"{images[other] or f'image {other}'} of {names[other]}; leave it out, or remove {names[other]} first."
                )
