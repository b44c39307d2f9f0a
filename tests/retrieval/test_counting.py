"""Counting by comparing, by sorting and by both gives what sorting gives."""

import numpy as np
import pytest
import torch

from reid_lightning.retrieval import counting
from reid_lightning.retrieval.counting import FEW, LONG, count_below


@pytest.mark.parametrize("length", [50, LONG, LONG + 777, 8 * LONG])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("most", [1, 5, FEW, FEW + 1, 3 * FEW])
@pytest.mark.parametrize("threads", [1, 2])
def test_counts_are_those_of_a_sorted_row(length, dtype, most, threads, monkeypatch):
    monkeypatch.setattr(counting.torch, "get_num_threads", lambda: threads)
    draw = np.random.default_rng(length + most)
    rows = max(3, threads * (1 << 20) // length + 1) if threads > 1 and length >= LONG else 7
    values = draw.standard_normal((rows, length)).round(2).astype(dtype)  # rounded: many values are equal
    values[:, ::9] = -np.inf
    counts = draw.integers(0, most + 1, rows)
    counts[0] = most
    thresholds = np.full((rows, most), np.inf, dtype)
    for row, count in zip(thresholds, counts, strict=True):
        row[:count] = -np.sort(-draw.choice(values[0], count))
    expected = [np.sort(row).searchsorted(wanted) for row, wanted in zip(values, thresholds, strict=True)]
    found = count_below(torch.from_numpy(values.copy()), thresholds, counts)
    for row, wanted, count in zip(found, expected, counts, strict=True):
        assert row[:count].tolist() == wanted[:count].tolist()
