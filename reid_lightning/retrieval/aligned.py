"""A second look at the top of each ranked list: the stripes of the nearest images, aligned (AlignedReID)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid_lightning.distances import aligned_distances
from reid_lightning.errors import InputError
from reid_lightning.retrieval.similarities import Similarities

PAIRS = 2**12  # pairs of images at a time; 16 MiB of float32 for 8 stripes of 128 dimensions


@dataclass(frozen=True, eq=False)
class AlignedRerank:
    """Orders the `k` nearest images of a query by distance + weight x aligned distance of stripes.

    The aligned distance (`distances.aligned_distances`) is divided by the 2 S - 1 pairs of stripes on its way, so that it
    lies between 0 and 1. The images behind keep their order; a pair of images costs S x S distances, which is why only
    the top is looked at (Zhang et al. 2017, "AlignedReID", Sec. 4.4 compares all).

    Raises:
        InputError: k is below 1, the weight is negative, or the shapes do not fit.
    """

    query: Tensor
    """(Q, S, d) features of S stripes."""
    gallery: Tensor
    """(G, S, d)."""
    k: int
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.k < 1 or self.weight < 0:
            raise InputError(
                f"Re-ranking needs at least one image and a weight from 0 on; got k={self.k} and weight={self.weight}."
            )
        if self.query.ndim != 3 or self.gallery.ndim != 3 or self.query.shape[1:] != self.gallery.shape[1:]:
            raise InputError(
                "Re-ranking needs (images, stripes, dimensions) features of equally many stripes and dimensions; "
                f"got shapes {tuple(self.query.shape)} and {tuple(self.gallery.shape)}."
            )

    def apply(self, similarities: Similarities, queries: slice, chunk: Tensor) -> None:
        """Change the (queries, G) similarities of a chunk in place; those at -inf are left out.

        The top moves above the rest, which stays as it is.
        """
        nearest = chunk.topk(min(self.k, chunk.shape[1]), dim=1)
        left_out = nearest.values.isneginf()
        combined = similarities.distances(queries, nearest.values.masked_fill(left_out, 0))
        combined += self.weight * self.distances(queries, nearest.indices)
        last = nearest.values[:, -1:].masked_fill(left_out[:, -1:], 0)
        above = last + 1 + last.abs() / 1000  # more than any rounding
        top = above + combined.masked_fill(left_out, 0).amax(dim=1, keepdim=True) - combined
        chunk.scatter_(1, nearest.indices, top.masked_fill(left_out, -torch.inf))

    def distances(self, queries: slice, columns: Tensor) -> Tensor:
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
