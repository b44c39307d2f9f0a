"""Time and memory of `rank` beside the bare matrix product Q·Gᵀ: `python benchmarks/ranking.py [--size SIZE] [--width D]`.

`market` is Market-1501's size, `market500k` the same with half a million distractors. `--peers` runs other programs on the
same vectors (ranking_peers.py); they need the whole matrix in memory.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from measure import arguments, peak_mebibytes, seconds_in_turns, write_rows
from ranking_peers import peers
from torch import Tensor

from reid_lightning.distances import Distance
from reid_lightning.retrieval.matches import Side
from reid_lightning.retrieval.ranking import rank

SIZES = {  # queries, gallery, distractors among it, identities
    "market": (3368, 15913, 2798, 750),
    "msmt17": (11659, 82161, 0, 3060),
    "100k": (3368, 100_000, 86_885, 750),
    "market500k": (3368, 515_913, 502_798, 750),
}
NOISE = {"realistic": 2.3, "random": 50.0}  # of the vectors around their person's
BARS = {("realistic", 512): 1.4, ("realistic", 2048): 1.25, ("random", 512): 1.3, ("random", 2048): 1.8}


def problem(noise: float, size: str = "market", width: int = 512) -> tuple[Tensor, ...]:
    """Unit vectors around an identity's center; the more noise, the harder."""
    torch.manual_seed(0)
    queries, images, distractors, people = SIZES[size]
    centers = torch.randn(people + 1, width)
    centers[0] = 0  # a distractor is nobody
    query_ids = torch.randint(1, people + 1, (queries,))
    gallery_ids = torch.cat(
        [torch.zeros(distractors).long(), torch.randint(1, people + 1, (images - distractors,))]
    )
    noise *= (width / 512) ** 0.25  # equally hard at any width
    features = (centers[ids] + noise * torch.randn(len(ids), width) for ids in (query_ids, gallery_ids))
    query, gallery = (torch.nn.functional.normalize(x) for x in features)
    return query, gallery, query_ids, gallery_ids, torch.randint(6, (queries,)), torch.randint(6, (images,))


def bare_product(query: Tensor, gallery: Tensor, buffer: Tensor) -> None:
    """The products that any exact evaluation needs, in one reused buffer."""
    for start in range(0, len(query), len(buffer)):
        rows = query[start : start + len(buffer)]
        torch.mm(rows, gallery.T, out=buffer[: len(rows)])


def measure(
    name: str,
    size: str,
    width: int,
    distances: Sequence[Distance],
    device: str,
    repeats: int,
    others: Mapping[str, Callable[..., float]],
) -> list[dict[str, Any]]:
    """Return the rows of one problem; the bare product, ours and others take turns."""
    inputs: Any = tuple(column.to(device) for column in problem(NOISE[name], size, width))
    buffer = torch.empty(min(512, len(inputs[0])), len(inputs[1]), device=device)
    programs: dict[str, Callable[[], float]] = {
        f"rank, {distance}": partial(ours, *inputs, distance=distance) for distance in distances
    }
    programs |= {program: partial(function, *inputs) for program, function in others.items()}
    calls: list[Callable[[], Any]] = [partial(bare_product, inputs[0], inputs[1], buffer), *programs.values()]
    product, *times = seconds_in_turns(calls, repeats=repeats)
    rows = []
    for (program, call), seconds in zip(programs.items(), times, strict=True):
        ratios = [one / bare for one, bare in zip(seconds, product, strict=True)]
        row: dict[str, Any] = {
            "features": name, "size": size, "width": width, "program": program, "mAP": call(),
            "product_seconds": statistics.median(product), "seconds": statistics.median(seconds),
            "ratio": statistics.median(ratios), "lowest_ratio": min(ratios), "highest_ratio": max(ratios),
            "mebibytes": peak_mebibytes(call, device),
        }  # fmt: skip
        rows.append(row)
        bar = BARS.get((name, width)) if size == "market" and program.startswith("rank") else None
        said = f"  bar {bar}: {'reached' if row['ratio'] <= bar else 'MISSED'}" if bar else ""
        print(
            f"{size:10} {width:5} {name:9} {program:15} mAP {row['mAP']:.3f}: {row['seconds']:.2f} s, product "
            f"{row['product_seconds']:.2f} s, ratio {row['ratio']:.2f} ({min(ratios):.2f} to {max(ratios):.2f}), "
            f"{row['mebibytes']:.0f} MiB{said}",
            flush=True,
        )
    return rows


def ours(
    query: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cameras: Tensor,
    gallery_cameras: Tensor,
    *,
    distance: Distance,
) -> float:
    """Mean AP, with all other scores computed on the way."""
    sides = Side(query, query_ids, query_cameras), Side(gallery, gallery_ids, gallery_cameras)
    return rank(*sides, distance=distance).mean_ap


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--size", choices=SIZES, default="market")
    parser.add_argument("--width", type=int, default=512, help="dimensions of a vector")
    parser.add_argument("--features", choices=NOISE, nargs="+", default=list(NOISE))
    parser.add_argument(
        "--distance", choices=("cosine", "euclidean"), nargs="+", default=["cosine", "euclidean"]
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peers", action="store_true", help="other programs too: ranking_peers.py")
    options = parser.parse_args()
    rows = []
    for name in options.features:
        rows += measure(
            name,
            options.size,
            options.width,
            options.distance,
            options.device,
            options.repeats,
            peers() if options.peers else {},
        )
    write_rows(options.json, rows)


if __name__ == "__main__":
    main()
