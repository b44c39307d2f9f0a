"""IDF1 (Ristani et al. 2016) of tracks against the truth, written plainly from its definition: the oracle of tests."""

import numpy as np
from scipy.optimize import linear_sum_assignment


def identity_f1(truth, found, least=0.5):
    """Return IDF1, 0 to 1.

    Args:
        truth: Boxes x1, y1, x2, y2 by (frame, id).
        found: Likewise.
        least: IoU from which two boxes are one.
    """
    people, ids = sorted({who for _, who in truth}), sorted({who for _, who in found})
    together = np.zeros((len(people), len(ids)))
    by_frame = {}
    for (frame, who), box in found.items():
        by_frame.setdefault(frame, []).append((who, box))
    for (frame, who), box in truth.items():
        for other, place in by_frame.get(frame, []):
            if iou(box, place) >= least:
                together[people.index(who), ids.index(other)] += 1
    rows, columns = linear_sum_assignment(-together)
    return 2 * together[rows, columns].sum() / max(len(truth) + len(found), 1)


def iou(a, b):
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    areas = sum((one[2] - one[0]) * (one[3] - one[1]) for one in (a, b))
    return wide * high / (areas - wide * high)
