"""Re-ranking by k-reciprocal neighbors in sparse sets (Zhong et al. 2017).

The published program holds several N x N matrices of all N images. Only a few dozen neighbors of an image ever count,
so sets and weights are sparse here, neighbors are found and pairs compared in chunks, and no matrix of pairs exists.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from reid_lightning.distances import exact_products
from reid_lightning.errors import InputError
from reid_lightning.retrieval.rerank import whole_number
from reid_lightning.retrieval.similarities import Comparison, Similarities


@dataclass(frozen=True)
class KReciprocalRerank:
    """How to re-rank. The defaults are Zhong et al.'s for Market-1501, and BoT's.

    Args:
        k1: Neighbors in which two images must find each other.
        k2: Nearest images over which an image's neighborhood is averaged; 1 does not average.
        weight: Share of the plain distance beside the Jaccard distance (lambda), 0 to 1.

    Raises:
        ValueError: A value is out of range.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    reads: ClassVar[str | None] = None
    keeps_distances: ClassVar[bool] = False

    def __post_init__(self) -> None:
        whole_number("k1", self.k1, 1)
        whole_number("k2", self.k2, 1)
        if self.k2 > self.k1 + 1:
            raise ValueError(f"k2 must be <= k1 + 1 = {self.k1 + 1}, got {self.k2}")
        if type(self.weight) not in (int, float) or not 0 <= self.weight <= 1:
            raise ValueError(f"weight must be between 0 and 1, got {self.weight}")

    def describe(self) -> str:
        """Return the choices in words."""
        return f"re-ranked by k-reciprocal neighbours ({self.k1}/{self.k2}/{self.weight})"

    def check_size(self, images: int) -> None:
        """Refuse too few images.

        Args:
            images: Those of the queries and of the gallery together.

        Raises:
            InputError: There are not more than `k1`.
        """
        if images <= self.k1:
            raise InputError(
                f"Re-ranking by k1={self.k1} reciprocal neighbors needs more than the {images} images that there "
                "are; lower k1 (evaluation.rerank.k1)."
            )

    def apply(
        self, plain: Similarities, query_extra: Tensor | None = None, gallery_extra: Tensor | None = None
    ) -> "ReciprocalSimilarities":
        """Find the neighborhoods of all images and return the similarities after re-ranking.

        Args:
            plain: Of all queries to the gallery, by any distance; distances become squared Euclidean ones, for cosine of
                unit vectors.
            query_extra: Not read.
            gallery_extra: Not read.

        Raises:
            InputError: There are too few images.

        Examples:
            >>> query, gallery = torch.tensor([[0.0]]), torch.tensor([[1.0], [1.1], [1.2], [8.0], [9.0]])
            >>> plain = Similarities.of(query, gallery, "euclidean")
            >>> found = KReciprocalRerank(k1=2, k2=1).apply(plain)
            >>> [chunk.argsort(descending=True).tolist() for _, chunk in found.chunks()]
            [[[0, 1, 2, 3, 4]]]
        """
        weights, largest = self._neighbourhoods(torch.cat([plain.query, plain.gallery]))
        count = len(plain.query)
        return ReciprocalSimilarities(
            plain, largest[:count], weights[:count], sparse.csc_array(weights[count:]), self.weight
        )

    def among(self, plain: Similarities) -> "ReciprocalSimilarities":
        """Return the similarities of images among each other, each compared once with all, itself included.

        Args:
            plain: Of images to the same images.

        Raises:
            InputError: There are too few images.
        """
        weights, largest = self._neighbourhoods(plain.query)
        return ReciprocalSimilarities(plain, largest, weights, sparse.csc_array(weights), self.weight)

    def neighbourhoods(self, images: Tensor) -> sparse.csr_array:
        """Return the (N, N) weights of the neighborhoods of (N, D) images, each row of sum 1.

        Raises:
            InputError: There are too few images.
        """
        return self._neighbourhoods(images)[0]

    def _neighbourhoods(self, images: Tensor) -> tuple[sparse.csr_array, Tensor]:
        """Return the (N, N) weights of the images' neighborhoods, and their largest squared distances (N,)."""
        self.check_size(len(images))
        neighbours, largest = _neighbours(images, self.k1 + 1)
        weights = _weights(images, _neighbourhoods(neighbours, self.k1), largest)
        if self.k2 > 1:
            weights = _rows(neighbours[:, : self.k2], 1 / self.k2) @ weights
        return sparse.csr_array(weights), largest


@dataclass(frozen=True, eq=False)
class ReciprocalSimilarities(Comparison):
    """Similarities after re-ranking, 0 to -1, for `ranking.rank_pairs`: the negative of

    `(1 - weight) x Jaccard distance of both neighbourhoods + weight x d² / the query's largest d²` (eq. 12).
    """

    plain: Similarities
    """Of the queries to the gallery."""
    largest: Tensor
    """(Q,) a query's largest squared distance to any query or gallery image."""
    query: sparse.csr_array
    """(Q, N) weights of each query's neighborhood, of sum 1."""
    gallery: sparse.csc_array
    """(G, N) the gallery's."""
    weight: float

    @torch.no_grad()
    def chunks(self, chunk_size: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Yield a slice of queries and its similarities (chunk, G), which the caller may overwrite."""
        for queries, chunk in self.plain.chunks(chunk_size):
            shared = torch.from_numpy(self._shared(queries, chunk.shape[1])).to(chunk)
            distances = self._squared(queries, chunk).div_(self.largest[queries, None]).mul_(-self.weight)
            # Of sets whose weights sum up to 1 the union is 2 - the intersection: distance 1 - s / (2 - s).
            chunk.copy_(shared).neg_().add_(2)
            yield queries, shared.div_(chunk).sub_(1).mul_(1 - self.weight).add_(distances)

    def of_queries(self, rows: Tensor) -> "ReciprocalSimilarities":
        """Return the similarities of some of the queries, by their positions."""
        plain = self.plain.of_queries(rows)
        return replace(self, plain=plain, largest=self.largest[rows], query=self.query[rows.cpu().numpy()])

    def distances(self, rows: slice, similarities: Tensor) -> Tensor:
        """Turn similarities (len(rows), n) into the combined distances, 0 to 1."""
        return -similarities

    def rounding(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Bound the rounding error of the similarities at (rows, columns), which are sums of two shares of 1."""
        squares = self.plain.rounding(rows, columns)
        scale = 2 if self.plain.distance == "cosine" else 1
        return self.weight * scale * squares / self.largest[rows] + 8 * torch.finfo(squares.dtype).eps

    def _squared(self, queries: slice, similarities: Tensor) -> Tensor:
        if self.plain.distance == "cosine":
            return (2 - 2 * similarities).clamp_(min=0)
        return (self.plain.query_squares[queries, None] - similarities).clamp_(min=0)

    def _shared(self, queries: slice, length: int) -> NDArray[np.float64]:
        """Return the (chunk, G) sums over all images of the smaller of both weights."""
        return shared_weights(self.query[queries], self.gallery, length)


def shared_weights(own: sparse.csr_array, columns: sparse.csc_array, length: int) -> NDArray[np.float64]:
    """Return the (R, length) sums over all images of the smaller of two neighborhoods' weights.

    Args:
        own: (R, N) weights of some neighborhoods.
        columns: (length, N) weights of those that they are compared with.
        length: How many these are.
    """
    starts, ends = columns.indptr[own.indices], columns.indptr[own.indices + 1]
    counts = (ends - starts).astype(np.int64)
    # One entry for each image that a query's neighbor is also a neighbor of.
    within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    place = np.repeat(starts, counts) + within
    smaller = np.minimum(np.repeat(own.data, counts), columns.data[place])
    rows = np.repeat(np.arange(own.shape[0]), np.diff(own.indptr))
    cells = np.repeat(rows, counts) * length + columns.indices[place]
    summed = np.bincount(cells, smaller, minlength=own.shape[0] * length)
    return summed.astype(np.float64, copy=False).reshape(-1, length)


def _neighbours(images: Tensor, count: int) -> tuple[NDArray[np.int64], Tensor]:
    """Return the (N, count) nearest images of each, itself first, and its largest squared distance (N,)."""
    pairs = Similarities.of(images, images, "sqeuclidean")
    nearest, largest = [], []
    for rows, chunk in pairs.chunks():
        largest.append(pairs.query_squares[rows] - chunk.amin(dim=1))
        own = torch.arange(rows.start, rows.stop, device=chunk.device)
        chunk[torch.arange(len(chunk), device=chunk.device), own] = torch.inf  # before its duplicates
        nearest.append(chunk.topk(count, dim=1).indices)
    return torch.cat(nearest).cpu().numpy(), torch.cat(largest).clamp(min=torch.finfo(images.dtype).tiny)


def _rows(columns: NDArray[np.int64], value: float = 1.0) -> sparse.csr_array:
    """Return the (N, N) matrix that holds a value in each of the (N, k) columns."""
    count, width = columns.shape
    starts = np.arange(0, columns.size + 1, width)
    values = np.full(columns.size, value, dtype=np.float32)
    return sparse.csr_array((values, columns.ravel(), starts), shape=(count, count))


def _mutual(neighbours: NDArray[np.int64]) -> sparse.csr_array:
    """Return the (N, N) matrix of ones where two images are among each other's neighbors."""
    forward = _rows(neighbours)
    return sparse.csr_array(forward.multiply(forward.T))


def _neighbourhoods(neighbours: NDArray[np.int64], k1: int) -> sparse.csr_array:
    """Return the (N, N) pattern of each image's expanded k-reciprocal set (Zhong et al., eq. 5).

    The half-sized set of a member joins if more than two thirds of it are already there.
    """
    mutual = _mutual(neighbours[:, : k1 + 1])
    halves = _mutual(neighbours[:, : round(k1 / 2) + 1])
    sizes = halves.sum(axis=1)
    overlap = sparse.coo_array(mutual.multiply(mutual @ halves.T))
    joins = overlap.data > 2 / 3 * sizes[overlap.col] + 1e-3  # counts are whole, thirds are not
    joining = sparse.csr_array(
        (np.ones(joins.sum(), np.float32), (overlap.row[joins], overlap.col[joins])), shape=mutual.shape
    )
    return sparse.csr_array(mutual + joining @ halves)


def _weights(images: Tensor, pattern: sparse.csr_array, largest: Tensor) -> sparse.csr_array:
    """Return exp(-d² / largest) at each place of a pattern, every row scaled to sum 1 (eq. 7)."""
    pattern.sort_indices()
    starts, columns = (
        torch.from_numpy(part).to(images.device, torch.int64) for part in (pattern.indptr, pattern.indices)
    )
    rows = torch.repeat_interleave(starts.diff())
    squares = images.square().sum(dim=1)
    with warnings.catch_warnings(), exact_products(images.device):
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        places = torch.sparse_csr_tensor(
            starts, columns, images.new_zeros(len(columns)), pattern.shape, check_invariants=True
        )
        products = torch.sparse.sampled_addmm(places, images, images.T, beta=0.0).values()
    distances = (squares[rows] + squares[columns] - 2 * products).clamp_(min=0)
    weights = (-distances / largest[rows]).exp()
    sums = torch.zeros_like(largest).index_add_(0, rows, weights)
    values = (weights / sums[rows]).cpu().numpy()
    return sparse.csr_array((values, pattern.indices, pattern.indptr), shape=pattern.shape)
