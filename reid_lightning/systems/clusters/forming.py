"""Clusters of the training set: which images are taken for one person until the next epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.distances import unit_vectors

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Forming:
    """How clusters are formed: DBSCAN on Jaccard distances of k-reciprocal neighborhoods.

    Args:
        eps: Largest distance of neighbors, above 0 and below 1. Of several, that with the largest silhouette is taken.
        least: Images within eps, itself included, that make an image the core of a cluster.
        k1: Neighbors in which two images must find each other.
        k2: Nearest images over which an image's neighborhood is averaged.
        center_cameras: Whether the mean of an image's camera is taken from its vector first.
        keep_alone: Whether an image in no cluster becomes a cluster of its own; it is left out otherwise.

    Raises:
        ValueError: A number is out of range.
    """

    eps: float | Sequence[float] = 0.5
    least: int = 4
    k1: int = 30
    k2: int = 6
    center_cameras: bool = False
    keep_alone: bool = False

    def __post_init__(self) -> None:
        if not self.bounds or not all(0 < bound < 1 for bound in self.bounds):
            raise ValueError(f"eps must be above 0 and below 1, or be a list of such numbers, got {self.eps}")
        for name in ("least", "k1", "k2"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number >= 1, got {value}")
        if self.k2 > self.k1 + 1:
            raise ValueError(f"k2 must be <= k1 + 1 = {self.k1 + 1}, got {self.k2}")

    @property
    def bounds(self) -> list[float]:
        """The candidates of eps."""
        return [float(self.eps)] if isinstance(self.eps, int | float) else sorted(map(float, self.eps))

    def form(
        self, vectors: Tensor, cameras: Tensor, tracklets: Integers
    ) -> tuple[Integers, dict[str, float]]:
        """Cluster images.

        The images of a tracklet are one point, at the mean of their unit vectors, and count as many as they are: they stay
        together whatever their distances say, and a long tracklet is a cluster of its own.

        Args:
            vectors: (N, D) embeddings.
            cameras: (N,) codes, -1 where unknown.
            tracklets: (N,) codes, -1 where unknown.

        Returns:
            (N,) cluster of each image, larger ones first, -1 for none; and `silhouette`, with `eps` where it was chosen.

        Raises:
            InputError: There are not more than k1 images or tracklets.
        """
        from reid_lightning.retrieval.jaccard import (  # which brings SciPy along
            JaccardDistances,
            dbscan,
            silhouette,
            without_camera_means,
        )

        point, first, sizes = points_of(tracklets)
        seen = without_camera_means(vectors, cameras) if self.center_cameras else unit_vectors(vectors)
        if len(first) < len(vectors):
            slots = torch.from_numpy(point).to(seen.device)
            seen = unit_vectors(seen.new_zeros(len(first), seen.shape[1]).index_add_(0, slots, seen))
        distances = JaccardDistances.of(seen, self.k1, self.k2)
        near = distances.within(max(self.bounds))
        found: tuple[float, float, Integers] | None = None
        for bound in self.bounds:
            groups = dbscan(near, bound, self.least, sizes)
            score = silhouette(distances, groups)
            if found is None or score > found[0]:
                found = score, bound, groups
        assert found is not None
        score, bound, groups = found
        numbers = {"silhouette": score} | ({"eps": bound} if len(self.bounds) > 1 else {})
        if self.keep_alone:
            alone = groups < 0
            groups = groups.copy()
            groups[alone] = groups.max(initial=-1) + 1 + np.arange(alone.sum())
        return groups[point], numbers


def points_of(tracklets: Integers) -> tuple[Integers, Integers, Integers]:
    """Return the point of each image, the first image of each point, and how many images it has.

    An image without a tracklet is a point of its own. Points are in the order of their first images.

    Examples:
        >>> [part.tolist() for part in points_of(np.array([-1, 7, 7, -1]))]
        [[0, 1, 1, 2], [0, 1, 3], [1, 2, 1]]
    """
    tracklets = np.asarray(tracklets, np.int64)
    alone = tracklets.max(initial=-1) + 1 + np.arange(len(tracklets))
    _, first, code, counts = np.unique(
        np.where(tracklets < 0, alone, tracklets), return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place[code], first[order], counts[order].astype(np.int64)


def shape_of(groups: Integers) -> dict[str, float]:
    """Return how many clusters there are, the share of images in none, and the images of a cluster.

    Examples:
        >>> shape_of(np.array([0, 0, 0, 1, -1]))
        {'clusters': 2.0, 'outliers': 0.2, 'median_images': 2.0, 'largest': 3.0}
    """
    sizes = np.bincount(groups[groups >= 0])
    return {
        "clusters": float(len(sizes)),
        "outliers": float(np.mean(groups < 0)),
        "median_images": float(np.median(sizes)) if len(sizes) else 0.0,
        "largest": float(sizes.max(initial=0)),
    }


def agreement(groups: Integers, others: Integers) -> float:
    """Return the adjusted Rand index of two groupings of the same images (Hubert and Arabie 1985), 1 where they are equal.

    An image in no group is alone.
    """
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(_alone(groups), _alone(others)))


def against_truth(groups: Integers, people: Integers) -> dict[str, float]:
    """Return how well clusters are people, for diagnostics alone.

    Args:
        groups: (N,) cluster of each image, -1 for none.
        people: (N,) whom each shows, -1 where it is not known; such images do not count.

    Returns:
        `purity`: share of the clustered images that show the person whom most of their cluster show; `ari`: adjusted Rand
        index, images in no cluster being alone; `people`: how many there are. Empty where nobody is known.

    Examples:
        >>> against_truth(np.array([0, 0, 0, 1]), np.array([5, 5, 6, 6]))["purity"]
        0.75
    """
    known = people >= 0
    if not known.any():
        return {}
    groups, people = groups[known], np.unique(people[known], return_inverse=True)[1]
    inside = groups >= 0
    pairs, counts = np.unique(np.stack([groups[inside], people[inside]]), axis=1, return_counts=True)
    most = np.zeros(int(groups.max(initial=-1)) + 1, np.int64)
    np.maximum.at(most, pairs[0], counts)
    return {
        "purity": float(most.sum() / inside.sum()) if inside.any() else 1.0,
        "ari": agreement(groups, people),
        "people": float(people.max() + 1),
    }


def _alone(groups: Integers) -> Integers:
    """Number images in no group as groups of their own."""
    outside = groups < 0
    numbered = groups.astype(np.int64).copy()
    numbered[outside] = groups.max(initial=-1) + 1 + np.arange(outside.sum())
    return numbered


def describe(numbers: Mapping[str, float]) -> str:
    """Return the numbers of a clustering in words.

    Examples:
        >>> describe({"clusters": 12.0, "outliers": 0.25, "median_images": 6.0, "largest": 9.0, "silhouette": 0.5})
        '12 clusters (median 6 images, largest 9), 25.0 % of the images in none, silhouette 0.500'
    """
    parts = [
        f"{numbers['clusters']:.0f} clusters (median {numbers['median_images']:.0f} images, largest "
        f"{numbers['largest']:.0f})",
        f"{100 * numbers['outliers']:.1f} % of the images in none",
        f"silhouette {numbers['silhouette']:.3f}",
    ]
    if "eps" in numbers:
        parts.append(f"eps {numbers['eps']:.2f}")
    if "stability" in numbers:
        parts.append(f"{100 * numbers['stability']:.1f} % as before")
    if "purity" in numbers:
        parts.append(
            f"truth: {numbers['people']:.0f} people, purity {100 * numbers['purity']:.1f} %, ARI {numbers['ari']:.3f}"
        )
    return ", ".join(parts)
