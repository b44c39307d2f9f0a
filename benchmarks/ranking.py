"""Time of `rank` over the bare matrix product, at the size of Market-1501: `python benchmarks/ranking.py`."""

import time
from functools import partial

import torch

from reid_lightning.retrieval.ranking import rank

QUERIES, GALLERY, DISTRACTORS, WIDTH, REPEATS = 3368, 15913, 2798, 512, 7


def problem(noise, queries=QUERIES, images=GALLERY):
    """Unit vectors around an identity's centre; the more noise, the harder."""
    torch.manual_seed(0)
    centers = torch.randn(751, WIDTH)
    centers[0] = 0  # a distractor is nobody
    query_ids = torch.randint(1, 751, (queries,))
    gallery_ids = torch.cat([torch.zeros(DISTRACTORS).long(), torch.randint(1, 751, (images - DISTRACTORS,))])
    features = (centers[ids] + noise * torch.randn(len(ids), WIDTH) for ids in (query_ids, gallery_ids))
    query, gallery = (torch.nn.functional.normalize(x) for x in features)
    return query, gallery, query_ids, gallery_ids, torch.randint(6, (queries,)), torch.randint(6, (images,))


def fastest(*calls):
    """The shortest time of each call, taken in turns: a busy machine slows all of them down."""
    seconds = [[] for _ in calls]
    for _ in range(REPEATS):
        for call, times in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return map(min, seconds)


def bare_product(query, gallery, buffer):
    for start in range(0, len(query), len(buffer)):
        rows = query[start : start + len(buffer)]
        torch.mm(rows, gallery.T, out=buffer[: len(rows)])


def main():
    buffer = torch.empty(512, GALLERY)
    for name, noise in (("realistic", 2.3), ("hopeless", 50.0)):
        inputs = problem(noise)
        for metric in ("cosine", "euclidean"):
            ranked = partial(rank, *inputs, metric=metric)
            product, seconds = fastest(partial(bare_product, *inputs[:2], buffer), ranked)
            print(
                f"{name:9} {metric:9} mAP {ranked().mean_ap:.3f}: product {product:.3f} s, "
                f"ranking {seconds:.3f} s, ratio {seconds / product:.2f}"
            )


if __name__ == "__main__":
    main()
