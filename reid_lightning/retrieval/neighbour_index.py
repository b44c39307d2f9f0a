"""An index of many vectors, which finds the nearest: exactly, or by FAISS (the extra `faiss`)."""

import logging
import math
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from reid_lightning.arguments import as_choice
from reid_lightning.distances import Distance, unit_vectors
from reid_lightning.errors import InputError
from reid_lightning.retrieval.neighbours import Neighbours, nearest
from reid_lightning.retrieval.similarities import Similarities

IndexKind = Literal["exact", "faiss", "faiss_hnsw", "faiss_ivf"]

LINKS = 32  # of each vector in a graph
EXPLORED = 64  # candidates kept while a graph is built and, at least, while it is searched
TRAINED_ON = 40  # vectors per list: FAISS warns from 39 downwards
PROBED = 0.1  # share of the lists that are searched


class NeighbourIndex(Protocol):
    """Vectors that are searched again and again."""

    def nearest(self, query: Tensor, k: int) -> Neighbours:
        """Return the `k` nearest of the vectors, nearest first; fewer where there are no more, filled up with -1."""


def build_index(
    vectors: Tensor, distance: Distance = "cosine", search: IndexKind = "exact"
) -> NeighbourIndex:
    """Return an index of (N, D) vectors.

    - "exact" compares every pair, a chunk of queries at a time, on the vectors' own device.
    - "faiss" compares every pair too, by FAISS's flat index on the CPU.
    - "faiss_hnsw" walks a graph of neighbors (Malkov and Yashunin 2018): approximate, the fastest to search.
    - "faiss_ivf" searches a tenth of about 4 sqrt(N) clusters: approximate, and quicker to build than a graph. It
      misses many where vectors form no groups.

    Args:
        vectors: (N, D).
        distance: "cosine", "euclidean" or "sqeuclidean".
        search: How.

    Raises:
        InputError: The search is unknown or FAISS is not installed; or, as in `neighbours.nearest`, of the vectors.
        ValueError: The distance is unknown, or the vectors are no table.

    Examples:
        >>> index = build_index(torch.tensor([[3.0], [1.0], [2.0]]), "euclidean")
        >>> index.nearest(torch.zeros(1, 1), 2).indices.tolist()
        [[1, 2]]
    """
    check_index_kind(search)
    Similarities.of(vectors.new_zeros(1, *vectors.shape[1:]), vectors, distance)  # for its checks
    return ExactIndex(vectors, distance) if search == "exact" else FaissIndex(vectors, distance, search)


def check_index_kind(search: str) -> None:
    """Raise `InputError` where a search is unknown or needs what is not installed."""
    as_choice(search, "search", get_args(IndexKind))
    if search != "exact":
        load_faiss(f"search={search}")


class ExactIndex:
    """Every pair is compared."""

    def __init__(self, vectors: Tensor, distance: Distance) -> None:
        self.vectors, self.distance = vectors, distance

    def nearest(self, query: Tensor, k: int) -> Neighbours:
        """Return the `k` nearest, at equal distance the earlier row first."""
        return nearest(query, self.vectors, k, distance=self.distance)


class FaissIndex:
    """An index of FAISS over Euclidean distances; of unit vectors, whose order is that of their cosines, for cosine."""

    def __init__(self, vectors: Tensor, distance: Distance, search: IndexKind) -> None:
        self.distance = distance
        rows = self._rows(vectors)
        self.index = _new_index(load_faiss(f"search={search}"), rows, search)
        self.index.add(rows)

    def nearest(self, query: Tensor, k: int) -> Neighbours:
        """Return the `k` nearest on the query's device; equal distances come in any order.

        Raises:
            ValueError: k is below 1, or the queries do not fit the vectors.
            InputError: There are no queries, or they are not finite.
        """
        if k < 1:
            raise ValueError(f"k must be >= 1, got {k}")
        Similarities.of(query, query.new_zeros(1, self.index.d), self.distance)  # for its checks
        k = min(k, self.index.ntotal)
        if hasattr(self.index, "hnsw"):
            self.index.hnsw.efSearch = max(EXPLORED, 2 * k)
        squared, indices = self.index.search(self._rows(query), k)
        distances = torch.from_numpy(squared).clamp(min=0)
        if self.distance == "euclidean":
            distances = distances.sqrt()
        elif self.distance == "cosine":
            distances = distances / 2  # |a - b|² = 2 (1 - ab) of unit vectors
        found = torch.from_numpy(indices)
        return Neighbours(
            found.to(query.device), distances.masked_fill(found < 0, torch.inf).to(query.device)
        )

    def _rows(self, vectors: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
        rows = vectors.detach().float()
        rows = unit_vectors(rows) if self.distance == "cosine" else rows
        return np.ascontiguousarray(rows.cpu().numpy())


def _new_index(faiss: Any, rows: np.ndarray[Any, np.dtype[np.float32]], search: IndexKind) -> Any:
    count, width = rows.shape
    if search == "faiss":
        return faiss.IndexFlatL2(width)
    if search == "faiss_hnsw":
        index = faiss.IndexHNSWFlat(width, LINKS)
        index.hnsw.efConstruction = EXPLORED
        return index
    lists = max(1, min(round(4 * math.sqrt(count)), count // TRAINED_ON))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, lists)
    index.nprobe = max(1, math.ceil(PROBED * lists))
    index.train(rows)
    return index


def load_faiss(setting: str) -> Any:
    """Import FAISS.

    Args:
        setting: What needs it, for the message.

    Raises:
        InputError: It is not installed.
    """
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it reports every library that it tries
    try:
        import faiss
    except ImportError:
        raise InputError(
            f"{setting} needs FAISS: install it with `pip install reid-lightning[faiss]`, or choose search=exact."
        ) from None
    return faiss
