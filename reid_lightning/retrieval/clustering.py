"""Who is with whom when nobody is named: groups of images, whose number is not known, and how good they are."""

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from reid_lightning.distances import Distance
from reid_lightning.errors import InputError, require
from reid_lightning.retrieval.k_reciprocal import KReciprocalRerank
from reid_lightning.retrieval.similarities import Comparison, Similarities

Method = Literal["agglomerative", "dbscan"]
Integers = NDArray[np.int64]
MOST_IMAGES = 20_000  # whose distances among each other are held at once: 1.6 GB


def cluster(
    vectors: Tensor,
    threshold: float,
    *,
    distance: Distance = "cosine",
    method: Method = "agglomerative",
    rerank: KReciprocalRerank | None = None,
    least: int = 4,
) -> Integers:
    """Group images so that each group shows one person.

    "agglomerative" joins the two groups whose images are nearest on average, until no two are nearer than the threshold
    (average linkage, Sokal and Michener 1958). "dbscan" joins images within the threshold around those that have
    `least` such images, and leaves the others alone (Ester et al. 1996); it needs less memory, and one image between two
    people joins them.

    Args:
        vectors: (N, D).
        threshold: Largest distance; of re-ranked distances, from 0 to 1.
        distance: "cosine", "euclidean" or "sqeuclidean".
        method: "agglomerative" or "dbscan".
        rerank: Compares neighborhoods instead of vectors; None compares vectors.
        least: Of "dbscan", images within the threshold, itself included, that make an image the core of a group.

    Returns:
        (N,) number of each image's group, from 0 on, larger groups first, and of equal ones that with the earlier image.

    Raises:
        ValueError: The method is unknown, or a number is out of range.
        InputError: There are no images, too many, too few for the re-ranking, or vectors that are not finite.

    Examples:
        >>> cluster(torch.tensor([[0.0], [5.0], [0.1], [0.2], [9.0], [5.1]]), 1.0, distance="euclidean").tolist()
        [0, 1, 0, 0, 2, 1]
    """
    require(method in get_args(Method), "method", f"one of {', '.join(get_args(Method))}", method)
    require(threshold >= 0, "threshold", ">= 0", threshold)
    require(least >= 1, "least", ">= 1", least)
    pairs = Similarities.of(vectors, vectors, distance)
    compared: Comparison = pairs if rerank is None else rerank.among(pairs)
    found = (
        _agglomerative(compared, len(vectors), threshold)
        if method == "agglomerative"
        else _dbscan(compared, len(vectors), threshold, least)
    )
    return by_size(found)


def cluster_scores(groups: ArrayLike, people: ArrayLike) -> dict[str, float]:
    """Return how well groups are people.

    Args:
        groups: (N,) number of each image's group.
        people: (N,) whom each image shows, of any type that sorts.

    Returns:
        `precision`: share of the pairs in one group that show one person (1 where no group has two images); `recall`: share
        of the pairs of one person that are in one group; `f`: their harmonic mean (pairwise F); `nmi`: normalized mutual
        information, by the arithmetic mean of both entropies; `groups` and `people`: how many there are.

    Raises:
        InputError: There are no images, or not as many groups as people.

    Examples:
        >>> found = cluster_scores([0, 0, 0, 1], ["ann", "ann", "bob", "bob"])
        >>> round(found["precision"], 3), found["recall"], found["groups"]
        (0.333, 0.5, 2.0)
    """
    from sklearn.metrics import normalized_mutual_info_score

    given, truth = (np.unique(np.asarray(side), return_inverse=True)[1] for side in (groups, people))
    if not len(given) or given.shape != truth.shape:
        raise InputError(
            f"{given.shape} groups and {truth.shape} people do not fit; give one each, of one image or more."
        )
    table = sparse.coo_array((np.ones(len(given)), (given, truth))).tocsr()
    both, in_groups, of_people = (
        float((counts * (counts - 1)).sum() / 2)
        for counts in (table.data, np.bincount(given).astype(float), np.bincount(truth).astype(float))
    )
    precision = both / in_groups if in_groups else 1.0
    recall = both / of_people if of_people else 1.0
    return {
        "precision": precision,
        "recall": recall,
        "f": 2 * precision * recall / (precision + recall) if both else 0.0,
        "nmi": float(normalized_mutual_info_score(truth, given)),
        "groups": float(given.max() + 1),
        "people": float(truth.max() + 1),
    }


def distance_matrix(pairs: Comparison, count: int) -> NDArray[np.float32]:
    """Return the distances of all images among each other, (count, count): symmetric, and zero on the diagonal."""
    far = np.empty((count, count), np.float32)
    for rows, chunk in pairs.chunks():
        far[rows] = pairs.distances(rows, chunk).clamp(min=0).cpu().numpy()
    far += far.T.copy()  # of neighborhoods, the two ways differ
    far /= 2
    np.fill_diagonal(far, 0)
    return far


def _agglomerative(pairs: Comparison, count: int, threshold: float) -> Integers:
    if count > MOST_IMAGES:
        raise InputError(
            f"Agglomerative clustering holds the distances of all pairs, and {count:,} images are more than "
            f"{MOST_IMAGES:,}: cluster by dbscan, or fewer images at once."
        )
    if count == 1:
        return np.zeros(1, np.int64)
    far = distance_matrix(pairs, count)
    tree = linkage(squareform(far, checks=False), method="average")
    return fcluster(tree, threshold, criterion="distance").astype(np.int64)


def _dbscan(pairs: Comparison, count: int, threshold: float, least: int) -> Integers:
    from sklearn.cluster import DBSCAN

    parts = []
    for rows, chunk in pairs.chunks():
        far = pairs.distances(rows, chunk).clamp(min=0)
        far[torch.arange(len(far)), torch.arange(rows.start, rows.stop)] = 0
        row, column = (place.cpu().numpy() for place in torch.nonzero(far <= threshold, as_tuple=True))
        near = far[row, column].cpu().numpy()
        parts.append(sparse.csr_array((near, (row, column)), shape=(len(far), count)))
    found = DBSCAN(eps=max(threshold, 1e-12), min_samples=least, metric="precomputed").fit(
        sparse.csr_matrix(sparse.vstack(parts))
    )
    labels: Integers = found.labels_.astype(np.int64)
    alone = labels < 0
    labels[alone] = labels.max(initial=-1) + 1 + np.arange(alone.sum())
    return labels


def by_size(labels: Integers) -> Integers:
    """Renumber groups from 0 on, larger ones first, and of equal ones that with the earlier image; (N,) as given."""
    _, first, group, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return number[group.reshape(-1)]
