"""Time and memory of `rank` beside the bare matrix product Q·Gᵀ: `python benchmarks/ranking.py [--size SIZE] [--width D]`.

`market` is Market-1501's size, `market500k` the same with half a million distractors. The argsort program stands for the
evaluators in Python of torchreid, fast-reid and their descendants: the whole matrix of distances, every row sorted, a loop
over queries. It runs where its matrices fit (`--peers`).
"""

import statistics
from functools import partial

import numpy as np
import torch
from measure import arguments, peak_mebibytes, seconds_in_turns, write_rows

from reid_lightning.retrieval.ranking import rank

SIZES = {  # queries, gallery, distractors among it, identities
    "market": (3368, 15913, 2798, 750),
    "msmt17": (11659, 82161, 0, 3060),
    "100k": (3368, 100_000, 86_885, 750),
    "market500k": (3368, 515_913, 502_798, 750),
}
NOISE = {"realistic": 2.3, "hopeless": 50.0}  # of the vectors around their person's
BARS = {("realistic", 512): 1.4, ("realistic", 2048): 1.25, ("hopeless", 512): 1.8, ("hopeless", 2048): 1.8}


def problem(noise, size="market", width=512):
    """Unit vectors around an identity's centre; the more noise, the harder."""
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


def bare_product(query, gallery, buffer):
    """The products that any exact evaluation needs, in one reused buffer."""
    for start in range(0, len(query), len(buffer)):
        rows = query[start : start + len(buffer)]
        torch.mm(rows, gallery.T, out=buffer[: len(rows)])


def argsort_program(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras):
    """Mean AP and CMC by sorting every row of the whole matrix."""
    distances = (1 - query @ gallery.T).cpu().numpy()
    order = np.argsort(distances, axis=1)
    query_ids, gallery_ids = query_ids.numpy(), gallery_ids.numpy()
    query_cameras, gallery_cameras = query_cameras.numpy(), gallery_cameras.numpy()
    matches = (gallery_ids[order] == query_ids[:, None]).astype(np.int32)
    precisions, curves = [], []
    for row in range(len(query_ids)):
        columns = order[row]
        removed = (gallery_ids[columns] == query_ids[row]) & (gallery_cameras[columns] == query_cameras[row])
        hits = matches[row][~removed]
        if not hits.any():
            continue
        found = hits.cumsum()
        curves.append(np.minimum(found[:50], 1))
        precisions.append(((found / np.arange(1, len(hits) + 1)) * hits).sum() / hits.sum())
    return float(np.mean(precisions)), np.mean(curves, axis=0)


def measure(name, size, width, device, repeats, peers):
    """Return the rows of one problem."""
    inputs = tuple(column.to(device) for column in problem(NOISE[name], size, width))
    buffer = torch.empty(min(512, len(inputs[0])), len(inputs[1]), device=device)
    ranked = {metric: partial(rank, *inputs, metric=metric) for metric in ("cosine", "euclidean")}
    calls = [partial(bare_product, *inputs[:2], buffer), *ranked.values()]
    product, *times = seconds_in_turns(calls, repeats=repeats)
    rows = []
    for (metric, call), seconds in zip(ranked.items(), times, strict=True):
        ratios = [ours / bare for ours, bare in zip(seconds, product, strict=True)]
        row = {
            "features": name, "size": size, "width": width, "metric": metric, "mAP": call().mean_ap,
            "product_seconds": statistics.median(product), "seconds": statistics.median(seconds),
            "ratio": min(seconds) / min(product), "lowest_ratio": min(ratios), "highest_ratio": max(ratios),
            "mebibytes": peak_mebibytes(call, device),
        }  # fmt: skip
        rows.append(row)
        bar = BARS[name, width] if (name, width) in BARS and size == "market" else None
        said = f"  bar {bar}: {'reached' if row['ratio'] <= bar else 'MISSED'}" if bar else ""
        print(
            f"{size:10} {width:5} {name:9} {metric:9} mAP {row['mAP']:.3f}: product {row['product_seconds']:.3f} s, ranking "
            f"{row['seconds']:.3f} s, ratio {row['ratio']:.2f}, {row['mebibytes']:.0f} MiB{said}",
            flush=True,
        )
    if peers:
        call = partial(argsort_program, *inputs)
        (seconds,) = seconds_in_turns([call], repeats=1)
        row = {
            "features": name, "size": size, "width": width, "program": "argsort", "mAP": call()[0],
            "seconds": seconds[0], "ratio": seconds[0] / min(product), "mebibytes": peak_mebibytes(call, device),
        }  # fmt: skip
        rows.append(row)
        print(
            f"{size:10} {width:5} {name:9} argsort   mAP {row['mAP']:.3f}: {row['seconds']:.3f} s, "
            f"ratio {row['ratio']:.2f}, {row['mebibytes']:.0f} MiB",
            flush=True,
        )
    return rows


def main():
    parser = arguments(__doc__)
    parser.add_argument("--size", choices=SIZES, default="market")
    parser.add_argument("--width", type=int, default=512, help="dimensions of a vector")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peers", action="store_true", help="the argsort program too")
    options = parser.parse_args()
    rows = []
    for name in NOISE:
        rows += measure(name, options.size, options.width, options.device, options.repeats, options.peers)
    write_rows(options.json, rows)


if __name__ == "__main__":
    main()
