"""Re-ranking by k-reciprocal neighbors beside the published N x N program: `python benchmarks/reranking.py`.

The baseline is the algorithm of Zhong et al. (2017) as their program and its many descendants run it: dense numpy matrices
of all pairs of images, a loop over images. `--size msmt17` is where the baseline does not fit.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import arguments, write_rows
from numpy.typing import NDArray
from ranking import NOISE, SIZES, problem
from torch import Tensor

from reid_lightning.retrieval.k_reciprocal import KReciprocalRerank
from reid_lightning.retrieval.similarities import Similarities

K1, K2, WEIGHT = 20, 6, 0.3


def published(query: Tensor, gallery: Tensor) -> NDArray[Any]:
    """The (Q, G) distances of the dense algorithm."""
    images = torch.cat([query, gallery])
    squares = (2 - 2 * images @ images.T).clamp_(min=0).numpy()
    scaled = squares / squares.max(axis=1, keepdims=True)
    del squares
    order = np.argpartition(scaled, range(1, K1 + 1), axis=1)[:, : K1 + 1]
    weights = np.zeros_like(scaled)

    def mutual(image: int, size: int) -> NDArray[Any]:
        forward = order[image, : size + 1]
        return forward[np.nonzero(order[forward, : size + 1] == image)[0]]

    for image in range(len(images)):
        members = mutual(image, K1)
        expanded = members
        for member in members:
            half = mutual(member, round(K1 / 2))
            if len(np.intersect1d(half, members)) > 2 / 3 * len(half):
                expanded = np.append(expanded, half)
        expanded = np.unique(expanded)
        weight = np.exp(-scaled[image, expanded])
        weights[image, expanded] = weight / weight.sum()
    averaged = np.zeros_like(weights)
    for image in range(len(images)):
        averaged[image] = weights[order[image, :K2]].mean(axis=0)
    del weights
    holders = [np.nonzero(averaged[:, column])[0] for column in range(len(images))]
    scaled = scaled[: len(query)]
    jaccard = np.zeros_like(scaled)
    for row in range(len(query)):
        shared = np.zeros(len(images), np.float32)
        for column in np.nonzero(averaged[row])[0]:
            shared[holders[column]] += np.minimum(averaged[row, column], averaged[holders[column], column])
        jaccard[row] = 1 - shared / (2 - shared)
    return (jaccard * (1 - WEIGHT) + scaled * WEIGHT)[:, len(query) :]


def sparse(query: Tensor, gallery: Tensor, keep: bool) -> NDArray[Any] | None:
    """Ours; its distances are kept only to compare them."""
    found = KReciprocalRerank(K1, K2, WEIGHT).apply(Similarities.of(query, gallery, "cosine"))
    parts = [-chunk for _, chunk in found.chunks() if keep]
    return torch.cat(parts).numpy() if keep else None


def measured(name: str, size: str, file: Path | None) -> None:
    """Run one program in this process; print seconds and the memory that it took beside torch and the vectors."""
    query, gallery = problem(NOISE["realistic"], size)[:2]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    distances = (
        published(query, gallery) if name == "published" else sparse(query, gallery, keep=file is not None)
    )
    seconds = time.perf_counter() - start
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if file is not None and distances is not None:
        np.save(file, distances)
    print(json.dumps({"program": name, "seconds": seconds, "megabytes": megabytes}))


def alone(name: str, size: str, file: Path | None = None) -> dict[str, Any]:
    """Run one program in a process of its own, whose memory is its own."""
    command = [sys.executable, __file__, "--program", name, "--size", size]
    command += ["--save", str(file)] if file else []
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--size",
        choices=("market", "msmt17"),
        default="market",
        help="the published program runs at market's",
    )
    parser.add_argument("--repeats", type=int, default=5, help="of ours")
    parser.add_argument("--program", help=argparse.SUPPRESS)
    parser.add_argument("--save", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        measured(options.program, options.size, options.save)
        return
    ours = [alone("sparse", options.size) for _ in range(options.repeats)]
    seconds = sorted(run["seconds"] for run in ours)
    queries, gallery = SIZES[options.size][:2]
    row = {
        "queries": queries, "gallery": gallery, "seconds": statistics.median(seconds), "fastest": seconds[0],
        "slowest": seconds[-1], "megabytes": max(run["megabytes"] for run in ours),
    }  # fmt: skip
    print(
        f"{queries} x {gallery}: {row['seconds']:.1f} s ({row['fastest']:.1f} to {row['slowest']:.1f}), "
        f"{row['megabytes']:.0f} MB",
        flush=True,
    )
    if options.size == "market":
        row |= beside_the_published(options.size, row["seconds"])
    write_rows(options.json, [row])


def beside_the_published(size: str, seconds: float) -> dict[str, Any]:
    """Run the published program once and compare the distances."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.npy" for name in ("published", "sparse")]
        theirs = alone("published", size, files[0])
        alone("sparse", size, files[1])
        apart = np.abs(np.load(files[0]) - np.load(files[1]))
    row = {
        "published_seconds": theirs["seconds"], "published_megabytes": theirs["megabytes"],
        "ratio": theirs["seconds"] / seconds, "apart": float(apart.max()), "pairs_apart": float((apart > 1e-5).mean()),
    }  # fmt: skip
    print(
        f"published program: {theirs['seconds']:.1f} s, {theirs['megabytes']:.0f} MB, {row['ratio']:.1f} times ours; "
        f"largest difference {row['apart']:.1e}, above 1e-5 in {row['pairs_apart']:.1e} of the pairs"
    )
    return row


if __name__ == "__main__":
    main()
