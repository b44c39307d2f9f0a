"""How others evaluate, for `ranking.py --peers`: mAP and CMC of the same vectors on a CPU.

**The argsort program** stands for the evaluators in Python of fast-reid, BoT and their descendants: the whole matrix of
distances, every row sorted, a loop over queries. Written here.

**torchreid** has its distance matrix and `evaluate_rank`, in Python: the wheel on PyPI (0.2.5) carries no compiled
evaluator. `uv run --with torchreid --with gdown benchmarks/ranking.py --peers` brings it along.

**torchmetrics** has `RetrievalMAP`, which knows no cameras, so that it gets only the pairs that count, and all similarities
as probabilities, for it drops those that are not positive. **pytorch-metric-learning** has `AccuracyCalculator`, which
searches by FAISS and knows no cameras at all; its mAP is therefore another.
"""

import importlib.util
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def argsort_program(
    query: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cameras: Tensor,
    gallery_cameras: Tensor,
) -> float:
    """Mean AP, with the CMC computed on the way, by sorting every row of the whole matrix."""
    distances = (1 - query @ gallery.T).cpu().numpy()
    order = np.argsort(distances, axis=1)
    people, others = query_ids.cpu().numpy(), gallery_ids.cpu().numpy()
    cameras, other_cameras = query_cameras.cpu().numpy(), gallery_cameras.cpu().numpy()
    matches = (others[order] == people[:, None]).astype(np.int32)
    precisions, curves = [], []
    for row in range(len(people)):
        columns = order[row]
        removed = (others[columns] == people[row]) & (other_cameras[columns] == cameras[row])
        hits = matches[row][~removed]
        if not hits.any():
            continue
        found = hits.cumsum()
        curves.append(np.minimum(found[:50], 1))
        precisions.append(((found / np.arange(1, len(hits) + 1)) * hits).sum() / hits.sum())
    return float(np.mean(precisions))


def torchreid(
    query: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cameras: Tensor,
    gallery_cameras: Tensor,
) -> float:
    """Mean AP by torchreid's two functions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchreid.reid.metrics import compute_distance_matrix, evaluate_rank

    distances = compute_distance_matrix(query, gallery, "cosine").numpy()
    columns = (column.numpy() for column in (query_ids, gallery_ids, query_cameras, gallery_cameras))
    return float(evaluate_rank(distances, *columns, use_cython=False)[1])


def torchmetrics(
    query: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cameras: Tensor,
    gallery_cameras: Tensor,
) -> float:
    """Mean AP by RetrievalMAP."""
    from torchmetrics.retrieval import RetrievalMAP

    scores = (1 + query @ gallery.T) / 2
    same = query_ids[:, None] == gallery_ids
    counted = ~(same & (query_cameras[:, None] == gallery_cameras))
    rows = torch.arange(len(query))[:, None].expand_as(same)
    metric = RetrievalMAP(empty_target_action="skip")
    metric.update(scores[counted], same[counted], indexes=rows[counted])
    return float(metric.compute())


def metric_learning(
    query: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cameras: Tensor,
    gallery_cameras: Tensor,
) -> float:
    """Mean AP of AccuracyCalculator, the same camera's images included."""
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    calculator = AccuracyCalculator(include=("mean_average_precision",), k=None, device=query.device)
    found = calculator.get_accuracy(query, query_ids, gallery, gallery_ids, ref_includes_query=False)
    return float(found["mean_average_precision"])


def peers() -> dict[str, Callable[..., float]]:
    """The programs whose packages are there, by name."""
    of = {
        "argsort": (argsort_program, "numpy"),
        "torchreid": (torchreid, "torchreid"),
        "torchmetrics": (torchmetrics, "torchmetrics"),
        "metric learning": (metric_learning, "pytorch_metric_learning"),
    }
    return {name: program for name, (program, package) in of.items() if importlib.util.find_spec(package)}
