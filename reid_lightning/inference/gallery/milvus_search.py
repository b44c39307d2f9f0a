"""Search of a gallery in Milvus: Milvus finds the nearest, and what it does not know is ordered here."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.distances import pairwise_distances
from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.address import MilvusAddress
from reid_lightning.inference.gallery.attributes import SAMPLED, Wish, pushed_back, settled_after
from reid_lightning.inference.gallery.columns import PROBABILITIES
from reid_lightning.inference.gallery.conditions import Condition
from reid_lightning.inference.gallery.index import LEAST_PROBED, PROBED, TITLES
from reid_lightning.inference.gallery.manifest import Manifest
from reid_lightning.inference.gallery.milvus_client import LOOKS, VECTOR, asked
from reid_lightning.inference.gallery.milvus_filters import expression
from reid_lightning.inference.gallery.search import RERANKED, Hits, Search, reranked, spread_of
from reid_lightning.retrieval.neighbours import Neighbours

MOST = 16_384  # images that Milvus returns for a query
QUERIES = 256  # in one request
MOST_LISTS = 65_536  # of an index, as Milvus has it
KINDS = {"FLAT": "none", "IVF_FLAT": "ivf_flat", "HNSW": "hnsw"}


class MilvusSearch:
    """Searches a collection.

    Args:
        client: Of pymilvus.
        address: The gallery.
        manifest: Its manifest.
        vectors: Returns the (n, D) vectors of ids.
    """

    def __init__(
        self,
        client: Any,
        address: MilvusAddress,
        manifest: Manifest,
        vectors: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    ) -> None:
        self._client, self._address, self._manifest, self._vectors = client, address, manifest, vectors
        with asked(address):
            found = client.describe_index(address.name, VECTOR) or {}
        self._lists = lists_of(int(found.get("total_rows") or 0))
        name = str(found.get("index_type", "FLAT"))
        self.kind = KINDS.get(name, name)
        """Of the index; "none" where every vector is compared."""

    def nearest(
        self,
        queries: NDArray[np.float32],
        top: int,
        condition: Condition | None,
        search: Search,
        rerank: bool,
        wish: Wish | None,
    ) -> Hits:
        """Search; see `Gallery.search`.

        Raises:
            InputError: There is no index, or no exact search, or more images are wanted than Milvus returns.
        """
        self._check(top, search)
        test = expression(condition if wish is None else wish.among(condition))
        params = self._params(search == "exact", max(top, RERANKED))
        asked_for = torch.from_numpy(queries)
        is_exact = self.kind == "none" or search == "exact"
        how = "exact" if is_exact else TITLES.get(self.kind, self.kind)

        def nearest(k: int) -> Neighbours:
            return self._found(VECTOR, queries, min(k, MOST), test, params)

        if rerank:
            how = f"{how}, re-ranked"
            found = reranked(asked_for, nearest(max(top, RERANKED)), self._vectors, self._manifest.distance)
        if wish is not None and wish.weight:
            how = f"{how}, re-ordered by attributes"
            if rerank:
                found = self._pushed(found, wish, wish.weight * spread_of(found), top)
            else:
                far = wish.weight * self._spread(asked_for, test)
                found = settled_after(
                    lambda near: self._pushed(near, wish, far, top), top, self._count(test), nearest, MOST
                )
        elif not rerank:
            found = nearest(top)
        return Hits(*_padded(found, top), how)

    def by_attributes(self, top: int, condition: Condition | None, wish: Wish) -> Hits:
        """Search by words alone: a product with the logarithms of the probabilities, which Milvus holds as vectors.

        Raises:
            InputError: More images are wanted than Milvus returns.
        """
        self._check(top, "auto")
        query = np.zeros((1, wish.schema.num_outputs), np.float32)
        for name, code in wish.wanted.items():
            place = wish.schema.slices[wish.schema.names.index(name)].start + code
            query[0, place] = 1 / len(wish.wanted)
        found = self._found(
            LOOKS,
            query,
            top,
            expression(wish.among(condition)),
            {},
            lambda score: 1 - math.exp(min(score, 0.0)),
        )
        return Hits(*_padded(found, top), "attributes")

    def _check(self, top: int, search: Search) -> None:
        if top > MOST:
            raise InputError(f"Milvus returns up to {MOST:,} images for a query, got top={top}.")
        if search == "index" and self.kind == "none":
            raise InputError(
                f"{self._address.shown} has no index; build one with `reid gallery index`, or search exactly."
            )
        if search == "exact" and self.kind not in ("none", "ivf_flat"):
            raise InputError(
                f"{self._address.shown} has a graph, with which Milvus can only search approximately; build --kind ivf_flat "
                "or none for an exact search."
            )

    def _params(self, exact: bool, wanted: int) -> dict[str, Any]:
        if self.kind == "ivf_flat":
            share = min(self._lists, max(LEAST_PROBED, math.ceil(PROBED * self._lists)))
            return {"nprobe": MOST_LISTS if exact else share}  # more than there are: all
        return {"ef": min(32_768, max(200, 2 * wanted))} if self.kind == "hnsw" else {}

    def _found(
        self,
        field: str,
        queries: NDArray[np.float32],
        top: int,
        test: str,
        params: dict[str, Any],
        distance: Callable[[float], float] | None = None,
    ) -> Neighbours:
        """Return the nearest ids of each query; at equal distance the smaller one first."""
        distance = self._distance if distance is None else distance
        ids = torch.full((len(queries), top), -1)
        distances = torch.full((len(queries), top), torch.inf)
        for start in range(0, len(queries), QUERIES):
            with asked(self._address):
                answers = self._client.search(
                    self._address.name,
                    data=queries[start : start + QUERIES],
                    anns_field=field,
                    limit=top,
                    filter=test,
                    search_params={"params": params},
                    output_fields=["id"],
                    consistency_level="Strong",
                )
            for row, answer in enumerate(answers, start):
                hits = sorted((distance(float(hit["distance"])), int(hit["id"])) for hit in answer)
                if hits:
                    distances[row, : len(hits)] = torch.tensor([hit[0] for hit in hits])
                    ids[row, : len(hits)] = torch.tensor([hit[1] for hit in hits])
        return Neighbours(ids, distances)

    def _distance(self, score: float) -> float:
        """Return the gallery's distance of Milvus's score: a cosine, or a squared Euclidean distance."""
        if self._manifest.distance == "cosine":
            return min(max(1 - score, 0.0), 2.0)
        return max(score, 0.0) if self._manifest.distance == "sqeuclidean" else math.sqrt(max(score, 0.0))

    def _pushed(self, found: Neighbours, wish: Wish, far: Tensor, top: int) -> Neighbours:
        """Push images that lack what is wanted back, among those that were found."""
        ids, places = np.unique(found.indices.numpy(), return_inverse=True)
        known = ids[ids >= 0]
        shares = torch.zeros((len(ids), wish.schema.num_outputs))
        rows = self._query(f"id in {known.tolist()}", ["id", PROBABILITIES], len(known)) if len(known) else []
        for row in rows:
            if row.get(PROBABILITIES) is not None:
                shares[int(np.searchsorted(ids, row["id"]))] = torch.tensor(list(row[PROBABILITIES]))
        lacks = wish.lacks(shares)
        local = torch.from_numpy(places.reshape(found.indices.shape))
        absent = found.indices < 0
        moved = pushed_back(Neighbours(local.masked_fill(absent, -1), found.distances), lacks, far, top)
        back = torch.from_numpy(ids)[moved.indices.clamp(min=0)].masked_fill(moved.indices < 0, -1)
        return Neighbours(back, moved.distances)

    def _spread(self, queries: Tensor, test: str) -> Tensor:
        """Return how much the distances of each query (Q,) spread, over the images that Milvus names first."""
        rows = self._query(test, [VECTOR], SAMPLED)
        if not rows:
            return torch.zeros(len(queries))
        vectors = torch.from_numpy(np.asarray([row[VECTOR] for row in rows], np.float32))
        return pairwise_distances(queries, vectors, self._manifest.distance).std(dim=1, correction=0)

    def _count(self, test: str) -> int:
        with asked(self._address):
            rows = self._client.query(
                self._address.name, filter=test, output_fields=["count(*)"], consistency_level="Strong"
            )
        return int(rows[0]["count(*)"])

    def _query(self, test: str, fields: Sequence[str], limit: int) -> list[dict[str, Any]]:
        with asked(self._address):
            found: list[dict[str, Any]] = self._client.query(
                self._address.name,
                filter=test,
                output_fields=list(fields),
                limit=limit,
                consistency_level="Strong",
            )
        return found


def lists_of(count: int) -> int:
    """Return into how many lists an index of clusters divides some vectors."""
    return max(1, min(round(4 * math.sqrt(count)), MOST_LISTS))


def _padded(found: Neighbours, top: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return (Q, top) ids and distances, -1 and infinite where there are no more."""
    ids, distances = found.indices[:, :top].numpy(), found.distances[:, :top].numpy()
    missing = top - ids.shape[1]
    width = ((0, 0), (0, max(0, missing)))
    return np.pad(ids, width, constant_values=-1), np.pad(distances, width, constant_values=np.inf)
