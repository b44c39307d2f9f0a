"""How many values of a row are smaller than each of its thresholds, without an order of the row where that is cheaper."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.retrieval.matches import Integers

Floats = NDArray[np.floating]
SAMPLE = 64  # values of a row that show whether most of it comes before its last match
FEW, LONG = (
    24,
    4096,
)  # thresholds up to which, in rows from which on, comparing with each is faster than sorting the row
LANES = 8 * 255  # truth values whose eight sums, a byte each, still fit


def count_below(values: Tensor, thresholds: Floats, counts: Integers) -> Integers:
    """Count the values in each row (rows, G) that are smaller than each of its thresholds (rows, n).

    Args:
        values: On any device. They lose their order.
        thresholds: Falling in each row; after `counts` of them anything that is larger.
        counts: (rows,) thresholds of each row.

    Examples:
        >>> count_below(torch.tensor([[3.0, 1.0, 2.0]]), np.float32([[2.5, 1.0, np.inf]]), np.array([2]))[:, :2]
        array([[2, 0]])
    """
    if values.device.type != "cpu":
        on_device = torch.from_numpy(thresholds).to(values.device)
        return torch.searchsorted(values.sort(dim=1).values, on_device).cpu().numpy()
    table, found = values.numpy(), np.empty(thresholds.shape, np.int64)
    lowest = thresholds.min(axis=1, initial=np.inf)
    if _mostly_before(table, lowest):
        _count_in_threads(table, thresholds, counts, found)
        return found
    for row, last, wanted, counted in zip(table, lowest, thresholds, found, strict=True):
        closer = row >= last
        near = np.count_nonzero(closer)
        if near < len(row) // 4:  # a good model leaves few before the last match: the others need no order
            counted[...] = len(row) - near + np.sort(row[np.flatnonzero(closer)]).searchsorted(wanted)
        else:
            row.sort()
            counted[...] = row.searchsorted(wanted)
    return found


def _mostly_before(table: Floats, lowest: Floats) -> bool:
    """Guess from a sample whether a quarter of the values or more come before the last match in most rows (rows, G)."""
    sample = table[:, :: max(1, table.shape[1] // SAMPLE)]
    before = np.count_nonzero(sample >= lowest[:, None], axis=1)
    return bool(2 * np.count_nonzero(4 * before >= sample.shape[1]) > len(table))


def _count_in_threads(table: Floats, thresholds: Floats, counts: Integers, found: Integers) -> None:
    """Count a part of the rows in each of torch's threads; numpy holds no lock while it compares or sorts."""
    threads = max(
        1, min(torch.get_num_threads(), table.size >> 20)
    )  # a thread for less costs more than it saves
    count = _count_by_comparing if table.shape[1] >= LONG else _count_by_sorting
    if threads == 1:
        count(table, thresholds, counts, found)
        return
    columns = (np.array_split(column, threads) for column in (table, thresholds, counts, found))
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(count, *columns):
            pass


def _count_by_sorting(table: Floats, thresholds: Floats, counts: Integers, found: Integers) -> None:
    # numpy sorts in place and twenty times faster than torch.
    table.sort(axis=1)
    for row, wanted, counted in zip(table, thresholds, found, strict=True):
        counted[...] = row.searchsorted(wanted)


def _count_by_comparing(table: Floats, thresholds: Floats, counts: Integers, found: Integers) -> None:
    """Compare a row with each of its thresholds and add up the truth values, eight at a time as the bytes of a word."""
    length = table.shape[1]
    parts = -(-length // LANES)
    smaller = np.zeros((FEW, parts * LANES), bool)
    words = smaller.view(np.uint64).reshape(FEW, parts, LANES // 8)
    sums = np.zeros((len(table), FEW, parts), np.uint64)
    few = counts <= FEW
    for row, wanted, number, added in zip(table, thresholds, counts.tolist(), sums, strict=True):
        if number <= FEW:
            np.less(row, wanted[:number, None], out=smaller[:number, :length])
            np.add.reduce(words[:number], axis=2, out=added[:number])
    for at in np.flatnonzero(~few):
        table[at].sort()
        found[at] = table[at].searchsorted(thresholds[at])
    width = min(FEW, found.shape[1])
    found[few, :width] = sums.view(np.uint8).sum(axis=2, dtype=np.int64)[few, :width]
