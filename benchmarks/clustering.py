"""Time and memory of one clustering of a training set: neighborhoods, small distances, DBSCAN, silhouette.

    python benchmarks/clustering.py 13000 32000 --size 512

Vectors are synthetic people of 16 images each who overlap somewhat. Seconds are processor time of all threads; memory is
the process's peak, which a size therefore has to itself: each runs in a process of its own.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
import torch

from reid_lightning.retrieval.jaccard import JaccardDistances, dbscan, silhouette
from reid_lightning.systems.clusters.forming import agreement


def people(images: int, size: int, noise: float = 0.9) -> tuple[torch.Tensor, np.ndarray]:
    """Return unit vectors (N, size) and whom each shows."""
    generator = torch.Generator().manual_seed(0)
    truth = np.arange(images) // 16
    centers = torch.randn(truth.max() + 1, size, generator=generator)
    vectors = centers[torch.from_numpy(truth)] + noise * torch.randn(images, size, generator=generator)
    return torch.nn.functional.normalize(vectors), truth


def measure(images: int, size: int) -> None:
    """Print a line for one size."""
    vectors, truth = people(images, size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, started = [], time.process_time()
    distances = JaccardDistances.of(vectors, 30, 6)
    seconds.append(time.process_time())
    near = distances.within(0.5)
    seconds.append(time.process_time())
    groups = dbscan(near, 0.5, 4)
    seconds.append(time.process_time())
    score = silhouette(distances, groups)
    seconds.append(time.process_time())
    parts = np.diff([started, *seconds])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{images:>8,} images: neighborhoods {parts[0]:.1f} s, distances {parts[1]:.1f} s, DBSCAN {parts[2]:.1f} s, "
        f"silhouette {parts[3]:.1f} s; peak {peak / 1024:,.0f} MB, {before / 1024:,.0f} MB before; "
        f"{near.nnz / images:.0f} pairs an image; silhouette {score:.3f}, ARI {agreement(groups, truth):.3f}",
        flush=True,
    )


def main() -> None:
    """Measure each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=int, nargs="+")
    parser.add_argument("--size", type=int, default=512, help="dimensions of a vector")
    given = parser.parse_args()
    if len(given.images) == 1:
        measure(given.images[0], given.size)
        return
    for images in given.images:
        subprocess.run([sys.executable, __file__, str(images), "--size", str(given.size)], check=True)


if __name__ == "__main__":
    main()
