"""Jaccard distances of k-reciprocal neighborhoods among many images, kept only where they are small.

No matrix of pairs exists: neighbors are found in chunks, the neighborhoods are sparse, and distances are computed for a
chunk of images at a time, of which those up to a bound stay.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from reid_lightning.errors import require
from reid_lightning.retrieval.k_reciprocal import KReciprocalRerank, shared_weights

CELLS = 4_000_000  # of a chunk: 32 MB of double precision, and as much again while it is compared


@dataclass(frozen=True, eq=False)
class JaccardDistances:
    """The distances `1 - |A ∩ B| / |A ∪ B|` of the weighted neighborhoods of N images (Zhong et al. 2017, eq. 10).

    Attributes:
        rows: (N, N) weights of each image's neighborhood, of sum 1.
        columns: The same by columns.
    """

    rows: sparse.csr_array
    columns: sparse.csc_array

    @classmethod
    def of(cls, vectors: Tensor, k1: int = 30, k2: int = 6) -> "JaccardDistances":
        """Find the neighborhoods of all images.

        Args:
            vectors: (N, D), on any device.
            k1: Neighbors in which two images must find each other.
            k2: Nearest images over which an image's neighborhood is averaged; 1 does not average.

        Raises:
            ValueError: A number is out of range.
            InputError: There are not more than k1 images.
        """
        found = KReciprocalRerank(k1=k1, k2=k2, weight=0.0).neighbourhoods(vectors)
        return cls(found, sparse.csc_array(found))

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def chunks(
        self, rows: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Yield some images and their (chunk, N) distances to all, an image being 0 from itself.

        Args:
            rows: Images to compare; None: all, in their order.
        """
        rows = np.arange(len(self)) if rows is None else np.asarray(rows)
        step = max(1, CELLS // len(self))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            shared = shared_weights(self.rows[part], self.columns, len(self))
            distances = 1 - shared / (
                2 - shared
            )  # of sets whose weights sum up to 1 the union is 2 - the intersection
            np.clip(distances, 0, 1, out=distances)
            distances[np.arange(len(part)), part] = 0
            yield part, distances

    def within(self, bound: float) -> sparse.csr_array:
        """Return the (N, N) distances up to a bound, zeros among them stored, everything else left out.

        Memory grows with the number of such pairs.

        Raises:
            ValueError: The bound is not at least 0 and below 1; at 1 all pairs would count.
        """
        require(0 <= bound < 1, "bound", ">= 0 and below 1", bound)
        values, columns, counts = [], [], []
        for _, distances in self.chunks():
            row, column = np.nonzero(distances <= bound)
            values.append(distances[row, column].astype(np.float32))
            columns.append(column.astype(np.int32))
            counts.append(np.bincount(row, minlength=len(distances)))
        starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        kept = np.concatenate(values), np.concatenate(columns), starts
        return sparse.csr_array(kept, shape=(len(self), len(self)))


def silhouette(
    distances: JaccardDistances, groups: NDArray[np.int64], most: int = 4096, seed: int = 0
) -> float:
    """Return the mean silhouette of groups (Rousseeuw 1987), in which an image outside of all groups counts as 0.

    An image's silhouette is `(b - a) / max(a, b)`: `a` is its mean distance to the others of its group, `b` the smallest
    mean distance to another group. It needs no labels. Few tight groups alone do not score, because all images count.

    Args:
        distances: Of N images.
        groups: (N,) contiguous from 0, -1 for an image outside of all groups.
        most: Images that are looked at; more are drawn at random.
        seed: Which are drawn.

    Returns:
        -1 to 1; 0 where there are fewer than two groups.
    """
    groups = np.asarray(groups)
    sizes = np.bincount(groups[groups >= 0])
    if len(sizes) < 2:
        return 0.0
    chosen = np.arange(len(groups))
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
    inside = chosen[(groups[chosen] >= 0) & (sizes[groups[chosen]] > 1)]
    member = np.flatnonzero(groups >= 0)
    ones = np.ones(len(member), np.float64)
    belongs = sparse.csr_array((ones, (member, groups[member])), shape=(len(groups), len(sizes)))
    total = 0.0
    for part, chunk in distances.chunks(inside):
        sums = np.asarray((belongs.T @ chunk.T).T)  # (chunk, groups)
        place = np.arange(len(part)), groups[part]
        own = sums[place] / (sizes[groups[part]] - 1)
        means = sums / sizes
        means[place] = np.inf
        other = means.min(axis=1)
        largest = np.maximum(own, other)
        total += float(((other - own) / np.where(largest > 0, largest, 1)).sum())
    return total / len(chosen)


def dbscan(
    near: sparse.csr_array, bound: float, least: int, weights: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Group images by DBSCAN (Ester et al. 1996) on distances of which only the small ones are known.

    Args:
        near: (N, N) distances up to the bound or more, zeros stored.
        bound: Largest distance of neighbors (eps).
        least: Images within the bound, itself included, that make an image the core of a group.
        weights: (N,) how many images each stands for; None: one.

    Returns:
        (N,) number of each image's group, larger ones first, -1 for those in none.
    """
    from sklearn.cluster import DBSCAN

    kept = near.copy()
    if kept.nnz and float(kept.data.max()) > bound:
        inside = kept.data <= bound
        counts = np.add.reduceat(np.append(inside, False).astype(np.int64), kept.indptr[:-1])
        counts[np.diff(kept.indptr) == 0] = 0
        starts = np.concatenate([[0], np.cumsum(counts)])
        kept = sparse.csr_array((kept.data[inside], kept.indices[inside], starts), shape=near.shape)
    found = DBSCAN(eps=max(bound, 1e-12), min_samples=least, metric="precomputed")
    labels = found.fit(sparse.csr_matrix(kept), sample_weight=weights).labels_.astype(np.int64)
    return by_size(labels)


def by_size(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Renumber groups, larger ones first, of equal ones that with the earlier image; -1 stays.

    Examples:
        >>> by_size(np.array([3, -1, 0, 0])).tolist()
        [1, -1, 0, 0]
    """
    inside = groups >= 0
    if not inside.any():
        return groups.astype(np.int64)
    _, first, group, sizes = np.unique(
        groups[inside], return_index=True, return_inverse=True, return_counts=True
    )
    number = np.empty(len(sizes), np.int64)
    number[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    numbered = np.full(len(groups), -1, np.int64)
    numbered[inside] = number[group]
    return numbered


def without_camera_means(vectors: Tensor, cameras: Tensor) -> Tensor:
    """Return unit vectors from which the mean of their camera is taken: images are compared without its look.

    A camera's background and colors move all of its images alike, so that images of one camera are nearer to each other
    than two of one person. Images of unknown cameras are taken as those of one camera.

    Args:
        vectors: (N, D).
        cameras: (N,) codes, -1 where unknown.

    Examples:
        >>> vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> without_camera_means(vectors, torch.tensor([0, 0]))
        tensor([[ 0.7071, -0.7071],
                [-0.7071,  0.7071]])
    """
    unit = torch.nn.functional.normalize(vectors)
    _, camera = torch.unique(cameras, return_inverse=True)
    count = int(camera.max()) + 1
    sums = unit.new_zeros(count, unit.shape[1]).index_add_(0, camera, unit)
    means = sums / torch.bincount(camera, minlength=count)[:, None]
    return torch.nn.functional.normalize(unit - means[camera])
