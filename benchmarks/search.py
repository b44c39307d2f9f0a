"""Neighbor search by FAISS beside the exact one, at the size of Market-1501: `python benchmarks/search.py`."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor

from reid_lightning.retrieval.neighbour_index import IndexKind, build_index

IMAGES, PEOPLE, WIDTH, NEIGHBOURS, REPEATS = 12936, 751, 512, 11, 3
DEPTH = 32  # dimensions that the vectors really have: those of a network lie near a surface of few


def training_set() -> Tensor:
    """Unit vectors of people, images of one near each other."""
    torch.manual_seed(0)
    labels = torch.arange(IMAGES) % PEOPLE
    inner = torch.randn(PEOPLE, DEPTH)[labels] + 0.7 * torch.randn(IMAGES, DEPTH)
    return torch.nn.functional.normalize(inner @ torch.randn(DEPTH, WIDTH))


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def main() -> None:
    vectors = training_set()
    fastest = {search: (float("inf"), float("inf")) for search in get_args(IndexKind)}
    found = {}
    for _ in range(REPEATS):  # in turns: a busy machine slows all of them down
        for search, (build, query) in fastest.items():
            building, index = timed(partial(build_index, vectors, "cosine", search))
            searching, neighbours = timed(partial(index.nearest, vectors, NEIGHBOURS))
            fastest[search] = min(build, building), min(query, searching)
            found[search] = neighbours.indices
    for search, (build, query) in fastest.items():
        recall = (found[search][:, :, None] == found["exact"][:, None, :]).any(dim=1).float().mean()
        total = sum(fastest["exact"]) / (build + query)
        print(
            f"{search:10} build {build:5.2f} s, search {query:5.2f} s, recall {recall:.4f}; times as fast as exact: "
            f"{total:.2f}, the index once built {fastest['exact'][1] / query:.2f}"
        )


if __name__ == "__main__":
    main()
