"""Re-ranking of the top of each ranked list by aligned stripes (AlignedReID)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from reid_lightning.distances import aligned_distances
from reid_lightning.errors import InputError
from reid_lightning.retrieval.rerank import whole_number
from reid_lightning.retrieval.similarities import Comparison, Reorder, Similarities

PAIRS = 2**12  # pairs of images at a time; 16 MiB of float32 for 8 stripes of 128 dimensions


@dataclass(frozen=True)
class AlignedRerank:
    """Orders the nearest images of a query by distance + weight x aligned distance of stripes.

    The aligned distance (`distances.aligned_distances`) is divided by the 2 S - 1 pairs of stripes on its way, so that it
    lies between 0 and 1. The images behind keep their order. A pair of images costs S x S distances, which is why only
    the top is re-ranked (Zhang et al. 2017, "AlignedReID", Sec. 4.4 compares all).

    Args:
        nearest: Gallery images per query that are re-ranked.
        weight: Factor of the aligned distance.

    Raises:
        ValueError: A value is out of range.
    """

    nearest: int = 100
    weight: float = 1.0

    reads: ClassVar[str | None] = "stripes"
    keeps_distances: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole_number("nearest", self.nearest, 1)
        if type(self.weight) not in (int, float) or not self.weight >= 0:
            raise ValueError(f"weight must be >= 0, got {self.weight}")

    def describe(self) -> str:
        """Return the choices in words."""
        return f"nearest {self.nearest} re-ranked with {self.weight} x aligned distance"

    def apply(
        self, plain: Similarities, query_extra: Tensor | None = None, gallery_extra: Tensor | None = None
    ) -> "AlignedSimilarities":
        """Return the similarities after re-ranking.

        Args:
            plain: Of all queries to the gallery.
            query_extra: (Q, S, d) features of S stripes.
            gallery_extra: (G, S, d).

        Raises:
            InputError: Stripes are absent or do not fit.
        """
        if query_extra is None or gallery_extra is None:
            raise InputError(
                "Re-ranking by aligned stripes needs the features of stripes, and there are none; choose parts=aligned, or "
                "evaluation/rerank=none."
            )
        shapes = query_extra.shape, gallery_extra.shape
        if any(len(shape) != 3 for shape in shapes) or shapes[0][1:] != shapes[1][1:]:
            raise InputError(
                "Re-ranking needs (images, stripes, dimensions) features of equally many stripes and dimensions; "
                f"got shapes {tuple(shapes[0])} and {tuple(shapes[1])}."
            )
        return AlignedSimilarities(plain, query_extra, gallery_extra, self.nearest, self.weight)


@dataclass(frozen=True, eq=False)
class AlignedSimilarities(Comparison):
    """Similarities of vectors, whose nearest pairs are reordered by their stripes."""

    plain: Similarities
    """Of the queries to the gallery."""
    query: Tensor
    """(Q, S, d) features of S stripes."""
    gallery: Tensor
    """(G, S, d)."""
    nearest: int
    weight: float

    def chunks(self, chunk_size: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Yield a slice of queries and its similarities (chunk, G) before re-ranking."""
        return self.plain.chunks(chunk_size)

    def rounding(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Bound the rounding error of the similarities at (rows, columns)."""
        return self.plain.rounding(rows, columns)

    def distances(self, rows: slice, similarities: Tensor) -> Tensor:
        """Turn similarities (len(rows), n) before re-ranking into distances of the vectors."""
        return self.plain.distances(rows, similarities)

    def of_queries(self, rows: Tensor) -> "AlignedSimilarities":
        """Return the similarities of some of the queries, by their positions."""
        return replace(self, plain=self.plain.of_queries(rows), query=self.query[rows])

    @property
    def reorder(self) -> Reorder:
        """Moves the nearest images above the rest, which stays as it is."""
        return self._reorder

    def _reorder(self, queries: slice, chunk: Tensor) -> None:
        top = chunk.topk(min(self.nearest, chunk.shape[1]), dim=1)
        left_out = top.values.isneginf()
        combined = self.plain.distances(queries, top.values.masked_fill(left_out, 0))
        combined += self.weight * self._stripe_distances(queries, top.indices)
        last = top.values[:, -1:].masked_fill(left_out[:, -1:], 0)
        above = last + 1 + last.abs() / 1000  # more than any rounding
        values = above + combined.masked_fill(left_out, 0).amax(dim=1, keepdim=True) - combined
        chunk.scatter_(1, top.indices, values.masked_fill(left_out, -torch.inf))

    def _stripe_distances(self, queries: slice, columns: Tensor) -> Tensor:
        """Return (n, k) aligned distances, in [0, 1], of n queries to k columns of the gallery each."""
        stripes = self.query.shape[1]
        own = self.query[queries]
        rows = max(1, PAIRS // columns.shape[1])
        parts = [
            aligned_distances(own[start : start + rows, None], self.gallery[columns[start : start + rows]])[
                :, 0
            ]
            for start in range(0, len(own), rows)
        ]
        return torch.cat(parts) / (2 * stripes - 1)
