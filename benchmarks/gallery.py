"""The gallery on disk: exact search beside torch's product and topk, a million vectors, and an approximate index.

Times are CPU time, which neighbors on a busy machine change less than the clock's. Run it with OMP_NUM_THREADS=1.

python benchmarks/gallery.py                     # 16 k x 512
python benchmarks/gallery.py --million DIR       # a million x 512, written to DIR (2 GB and the index)
python benchmarks/gallery.py --milvus DIR/people.db --count 100000    # the same in Milvus beside a folder; or milvus://...
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from measure import arguments, write_rows
from numpy.typing import NDArray

from reid_lightning import Gallery

WIDTH, TOP, DEPTH, PER_PERSON = 512, 20, 32, 20
BATCH = 50_000
BAR_MS, BAR_READING, BAR_RECALL, BAR_MEMORY = 10, 1.5, 0.98, 4096


class People:
    """Unit vectors of people, images of one near each other, near a surface of few dimensions as a network's are."""

    def __init__(self, count: int) -> None:
        self.random = np.random.default_rng(0)
        self.centers = self.random.normal(size=(max(1, count // PER_PERSON), DEPTH)).astype(np.float32)
        self.surface = self.random.normal(size=(DEPTH, WIDTH)).astype(np.float32)

    def draw(self, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
        person = self.random.integers(0, len(self.centers), count)
        inner = self.centers[person] + 0.7 * self.random.normal(size=(count, DEPTH)).astype(np.float32)
        vectors = inner @ self.surface
        return person, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def highest_mebibytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def filled(folder: Path, count: int, dtype: str, people: People) -> Gallery:
    gallery = Gallery.create(folder, WIDTH, dtype=dtype)
    for start in range(0, count, BATCH):
        person, vectors = people.draw(min(BATCH, count - start))
        gallery.add(vectors, pd.DataFrame({"person_id": person.astype(str), "camera_id": person % 6}))
    gallery.compact()
    return Gallery(folder)


def read_once(gallery: Gallery) -> None:
    """Read every mapped vector once, as fast as a sum does."""
    for entry in gallery.manifest.segments:
        mapped = np.load(entry.path(gallery.folder, "npy"), mmap_mode="c")
        torch.from_numpy(mapped.view(np.float32)).sum()


def millis(times: Sequence[float]) -> str:
    return f"{1e3 * statistics.median(times):.1f} ({1e3 * min(times):.1f} to {1e3 * max(times):.1f})"


def in_turns(calls: Sequence[Callable[[], Any]], repeats: int) -> list[list[float]]:
    """CPU seconds of each call, a list each; on a busy machine the clock says how busy it is."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for times, call in zip(taken, calls, strict=True):
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
    return taken


def market_size(folder: Path, repeats: int) -> list[dict[str, Any]]:
    rows = []
    for dtype in ("float32", "float16"):
        people = People(16_384)
        gallery = filled(folder / f"market-{dtype}", 16_384, dtype, people)
        asked = torch.from_numpy(people.draw(1000)[1])
        stored = torch.from_numpy(gallery.vectors(np.arange(16_384)))
        found = gallery.search(asked, TOP).ids
        expected = (asked @ stored.T).topk(TOP).indices.numpy()
        same = np.mean([len(set(a) & set(b)) / TOP for a, b in zip(found, expected, strict=True)])
        calls = [
            lambda g=gallery, a=asked: g.search(a[:1], TOP),
            lambda g=gallery, a=asked: g.search(a, TOP),
            lambda s=stored, a=asked: (a @ s.T).topk(TOP),
        ]
        one, many, bare = in_turns(calls, repeats)
        ratios = [ours / theirs for ours, theirs in zip(many, bare, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"16,384 x {WIDTH} {dtype}: one query {millis(one)} ms (bar {BAR_MS})")
        print(f"  1,000 queries {millis(many)} ms, torch matmul + topk {millis(bare)} ms, ratio {spread}")
        print(f"  same answers {same:.5f}")
        rows.append({"size": 16_384, "dtype": dtype, "one": one, "many": many, "torch": bare, "same": same})
    return rows


def million(folder: Path, count: int, repeats: int, dtype: str) -> list[dict[str, Any]]:
    start = time.perf_counter()
    people = People(count)
    gallery = filled(folder / f"large-{dtype}", count, dtype, people)
    building = time.perf_counter() - start
    people.draw(100)  # by which the share of lists that are searched was chosen
    asked = people.draw(300)[1]
    print(f"{count:,} x {WIDTH} {dtype}: built in {building:.0f} s, {gallery.info['segments']} segments")
    calls = [
        lambda: gallery.search(asked[:1], TOP, search="exact"),
        lambda: read_once(gallery),
        lambda: gallery.search(asked[:1], TOP, "camera != 3", search="exact"),
    ]
    in_turns(calls, 1)
    one, reading, filtered = in_turns(calls, repeats)
    ratios = [ours / once for ours, once in zip(one, reading, strict=True)]
    print(
        f"  exact: one query {millis(one)} ms, reading once {millis(reading)} ms, ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}; bar {BAR_READING}); with a condition {millis(filtered)} ms"
    )
    exact = gallery.search(asked, 10, search="exact").ids
    print(f"  highest memory so far {highest_mebibytes():,.0f} MiB (bar {BAR_MEMORY:,}; mapped files count)")
    start = time.perf_counter()
    kind = gallery.index("ivf_pq")
    indexing = time.perf_counter() - start
    found = gallery.search(asked, 10, search="index").ids
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)])
    by_index, by_all = (
        lambda how=how: gallery.search(asked[:1], 10, search=how) for how in ("index", "exact")
    )
    fast, slow = in_turns([by_index, by_all], repeats)
    print(
        f"  {kind}: built in {indexing:.0f} s, recall@10 {recall:.4f} (bar {BAR_RECALL}), one query {millis(fast)} ms, "
        f"{statistics.median(slow) / statistics.median(fast):.0f} times as fast as exact"
    )
    print(f"  highest memory {highest_mebibytes():,.0f} MiB")
    return [
        {
            "size": count, "dtype": dtype, "building": building, "one": one, "reading": reading, "filtered": filtered,
            "indexing": indexing, "recall": recall, "approximate": fast, "mebibytes": highest_mebibytes(),
        }
    ]  # fmt: skip


def in_milvus(address: str, folder: Path, count: int, repeats: int) -> list[dict[str, Any]]:
    """Ingest, exact and approximate search in Milvus, beside a folder with the same vectors.

    Milvus Lite works in this process, so that its CPU time is counted; of a server only the client's is.
    """
    rows = {"size": count, "address": address}
    galleries = {"folder": Gallery.create(folder / "beside", WIDTH), "milvus": Gallery.create(address, WIDTH)}
    for name, gallery in galleries.items():
        people = People(count)
        start, clock = time.process_time(), time.perf_counter()
        for first in range(0, count, BATCH):
            person, vectors = people.draw(min(BATCH, count - first))
            gallery.add(vectors, pd.DataFrame({"person_id": person.astype(str), "camera_id": person % 6}))
        rows[f"{name}_ingest_cpu"] = count / (time.process_time() - start)
        rows[f"{name}_ingest"] = count / (time.perf_counter() - clock)
        print(
            f"{name}: {rows[f'{name}_ingest_cpu']:,.0f} vectors a second of CPU time, "
            f"{rows[f'{name}_ingest']:,.0f} by the clock",
            flush=True,
        )
    asked = people.draw(300)[1]
    folder_gallery, milvus = galleries["folder"], galleries["milvus"]
    exact = folder_gallery.search(asked, 10, search="exact").ids

    def report(kind: str, **options: Any) -> None:
        found = milvus.search(asked[:100], 10, **options).ids
        recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact[:100], strict=True)])
        one, condition, ours = in_turns(
            [
                lambda: milvus.search(asked[:1], 10, **options),
                lambda: milvus.search(asked[:1], 10, "camera != 3", **options),
                lambda: folder_gallery.search(asked[:1], 10, search="exact"),
            ],
            repeats,
        )
        ratio = statistics.median(a / b for a, b in zip(one, ours, strict=True))
        print(
            f"{kind}: recall@10 {recall:.4f}, one query {millis(one)} ms ({ratio:.2f} times the folder's exact "
            f"{millis(ours)} ms), with a condition {millis(condition)} ms; memory up to {highest_mebibytes():,.0f} MiB",
            flush=True,
        )
        rows[kind] = {"recall": recall, "one": one, "condition": condition, "folder": ours}

    report("exact")
    for kind in ("ivf_flat", "hnsw"):
        start = time.process_time()
        milvus.index(kind)
        milvus.search(asked[:1], 10)
        print(f"{kind} built in {time.process_time() - start:.0f} s of CPU time", flush=True)
        report(kind)
    return [rows]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--million", type=Path, help="folder for a large gallery")
    parser.add_argument("--count", type=int, default=1_000_000, help="vectors of the large gallery")
    parser.add_argument(
        "--milvus", help="address of a new gallery in Milvus: DIR/people.db or milvus://HOST:PORT/NAME"
    )
    parser.add_argument("--dtype", default="float32", help="of the large gallery")
    parser.add_argument("--repeats", type=int, default=9)
    chosen = parser.parse_args()
    if chosen.million is not None:
        rows = million(chosen.million, chosen.count, chosen.repeats, chosen.dtype)
    else:
        with tempfile.TemporaryDirectory() as folder:
            if chosen.milvus is not None:
                rows = in_milvus(chosen.milvus, Path(folder), chosen.count, chosen.repeats)
            else:
                rows = market_size(Path(folder), chosen.repeats)
    write_rows(chosen.json, rows)


if __name__ == "__main__":
    main()
