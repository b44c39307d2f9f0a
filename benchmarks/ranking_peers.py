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

import numpy as np
import torch


def argsort_program(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras):
    """Mean AP, with the CMC computed on the way, by sorting every row of the whole matrix."""
    distances = (1 - query @ gallery.T).cpu().numpy()
    order = np.argsort(distances, axis=1)
    query_ids, gallery_ids = query_ids.cpu().numpy(), gallery_ids.cpu().numpy()
    query_cameras, gallery_cameras = query_cameras.cpu().numpy(), gallery_cameras.cpu().numpy()
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
    return float(np.mean(precisions))


def torchreid(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras):
    """Mean AP by torchreid's two functions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchreid.reid.metrics import compute_distance_matrix, evaluate_rank

    distances = compute_distance_matrix(query, gallery, "cosine").numpy()
    columns = (column.numpy() for column in (query_ids, gallery_ids, query_cameras, gallery_cameras))
    return float(evaluate_rank(distances, *columns, use_cython=False)[1])


def torchmetrics(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras):
    """Mean AP by RetrievalMAP."""
    from torchmetrics.retrieval import RetrievalMAP

    scores = (1 + query @ gallery.T) / 2
    same = query_ids[:, None] == gallery_ids
    counted = ~(same & (query_cameras[:, None] == gallery_cameras))
    rows = torch.arange(len(query))[:, None].expand_as(same)
    metric = RetrievalMAP(empty_target_action="skip")
    metric.update(scores[counted], same[counted], indexes=rows[counted])
    return metric.compute().item()


def metric_learning(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras):
    """Mean AP of AccuracyCalculator, the same camera's images included."""
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    calculator = AccuracyCalculator(include=("mean_average_precision",), k=None, device=query.device)
    found = calculator.get_accuracy(query, query_ids, gallery, gallery_ids, ref_includes_query=False)
    return found["mean_average_precision"]


def peers():
    """The programs whose packages are there, by name."""
    of = {
        "argsort": (argsort_program, "numpy"),
        "torchreid": (torchreid, "torchreid"),
        "torchmetrics": (torchmetrics, "torchmetrics"),
        "metric learning": (metric_learning, "pytorch_metric_learning"),
    }
    return {name: program for name, (program, package) in of.items() if importlib.util.find_spec(package)}
