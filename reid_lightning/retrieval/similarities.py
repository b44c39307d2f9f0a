"""Similarities of queries to a gallery, a chunk of queries at a time in one reused buffer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, get_args

import torch
from torch import Tensor

from reid_lightning.distances import Distance, exact_products, promote, unit_vectors
from reid_lightning.errors import InputError

BUFFER_ELEMENTS = 2**24  # 64 MiB of float32
MIN_CHUNK, MAX_CHUNK = (
    256,
    512,
)  # with fewer rows a product waits for the gallery: 64 take twice as long as 256

Reorder = Callable[[slice, Tensor], None]


class PairSimilarities(Protocol):
    """Similarities of all queries to a gallery; larger is nearer."""

    def chunks(self, chunk_size: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Yield a slice of queries and its similarities (chunk, G), which the caller may overwrite."""

    def rounding(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Bound the rounding error of the similarities at (rows, columns)."""

    @property
    def reorder(self) -> Reorder | None:
        """What changes the order of a chunk in place, once all that a protocol removes is at -inf; None for nothing."""
        return None


class Comparison(PairSimilarities, Protocol):
    """Similarities that can also be shown as distances, of all queries or of some."""

    def distances(self, rows: slice, similarities: Tensor) -> Tensor:
        """Turn similarities (len(rows), n) of `chunks` into distances."""

    def of_queries(self, rows: Tensor) -> "Comparison":
        """Return the similarities of some of the queries, by their positions."""


@dataclass(frozen=True, eq=False)
class Similarities(Comparison):
    """A distance turned into a matrix product whose values fall as the distance grows.

    Cosine needs q·g of unit vectors. Euclidean distances are ordered like 2 q·g - |g|², for |q|² is the same
    all along a query's row.
    """

    distance: Distance
    query: Tensor
    """(Q, D), unit vectors for cosine."""
    gallery: Tensor
    """(G, D)."""
    query_squares: Tensor
    """(Q,) squared lengths of the rows of `query`."""
    gallery_squares: Tensor
    """(G,)."""

    @classmethod
    def of(cls, query: Tensor, gallery: Tensor, distance: Distance) -> "Similarities":
        """Check the features and bring them into the distance's form, in float32 (or float64 if either is).

        Raises:
            ValueError: The distance is unknown, or the shapes do not fit.
            InputError: A side is empty or not finite.
        """
        if distance not in get_args(Distance):
            raise ValueError(f"distance must be one of {', '.join(get_args(Distance))}, got {distance}")
        if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
            raise ValueError(
                "query and gallery must be tables with equally many columns, "
                f"got shapes {tuple(query.shape)} and {tuple(gallery.shape)}"
            )
        query, gallery = promote(query.detach()), promote(gallery.detach())
        dtype = torch.promote_types(query.dtype, gallery.dtype)
        query, gallery = query.to(dtype), gallery.to(dtype)
        norms = [_checked_norms(name, side) for name, side in (("query", query), ("gallery", gallery))]
        if distance == "cosine":
            query, gallery = (
                features if _are_one(lengths) else unit_vectors(features)  # no copy of a large gallery
                for features, lengths in zip((query, gallery), norms, strict=True)
            )
            return cls(distance, query, gallery, query.new_ones(len(query)), query.new_ones(len(gallery)))
        return cls(distance, query, gallery, norms[0].square(), norms[1].square())

    @torch.no_grad()
    def chunks(self, chunk_size: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Yield a slice of queries and its similarities (chunk, G), which the caller may overwrite.

        The same memory serves every chunk, so use a chunk before asking for the next.

        Args:
            chunk_size: Queries at a time; by default as many as fit into 64 MiB, at least 256, at most 512.
        """
        size = chunk_size or min(max(BUFFER_ELEMENTS // len(self.gallery), MIN_CHUNK), MAX_CHUNK)
        buffer = self.query.new_empty(min(size, len(self.query)), len(self.gallery))
        minus_squares = -self.gallery_squares
        for start in range(0, len(self.query), size):
            rows = slice(start, min(start + size, len(self.query)))
            chunk = buffer[: rows.stop - rows.start]
            with exact_products(buffer.device):
                if self.distance == "cosine":
                    torch.mm(self.query[rows], self.gallery.T, out=chunk)
                else:
                    torch.addmm(minus_squares, self.query[rows], self.gallery.T, alpha=2, out=chunk)
            yield rows, chunk

    def rounding(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Bound the rounding error of the similarities at (rows, columns) and of any that equal them.

        Matrix products add up in an order that depends on where a column lies in the table, so that even
        equal gallery features differ in their last bits (by up to 2.5 units of rounding at D = 512 and 5 at
        2048 in float32, measured). Every unit more merges true neighbors; only float64 has digits to spare.
        """
        dtype, width = self.query.dtype, self.query.shape[1]
        units = (2 + width / 256) * (16 if dtype == torch.float64 else 1)
        if self.distance == "cosine":
            scale = torch.ones(len(rows), dtype=dtype, device=rows.device)
        else:  # an image at the same distance is at most 2 |q| + |g| long, wherever it lies: (|q| + |g|)² / 2 or less
            scale = self.query_squares[rows] + self.gallery_squares[columns]
        return units * torch.finfo(dtype).eps * scale

    def distances(self, rows: slice, similarities: Tensor) -> Tensor:
        """Turn similarities (len(rows), n) back into distances."""
        if self.distance == "cosine":
            return (1 - similarities).clamp(min=0)
        squared = (self.query_squares[rows, None] - similarities).clamp(min=0)
        return squared if self.distance == "sqeuclidean" else squared.sqrt()

    def of_queries(self, rows: Tensor) -> "Similarities":
        """Return the similarities of some of the queries, by their positions."""
        return replace(self, query=self.query[rows], query_squares=self.query_squares[rows])


def _checked_norms(name: str, features: Tensor) -> Tensor:
    if not len(features):
        raise InputError(f"There are no {name} images to rank; check the data's {name} split.")
    norms: Tensor = torch.linalg.vector_norm(features, dim=1)
    finite = norms.isfinite()
    if not finite.all():
        bad = finite.logical_not().nonzero().flatten()
        raise InputError(
            f"{len(bad)} of {len(features)} {name} features are not finite (the first is row {int(bad[0])}); "
            f"the training has probably diverged, or a cast to half precision overflowed."
        )
    return norms


def _are_one(norms: Tensor) -> bool:
    """Whether vectors of these lengths are what scaling them to length 1 leaves."""
    return bool(((norms - 1).abs() <= 4 * torch.finfo(norms.dtype).eps).all())
