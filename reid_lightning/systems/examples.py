"""Which images of the last evaluation stand for the others in a picture."""

import torch

from reid_lightning.systems.task import Run


def typical_triple(run: Run) -> list[int] | None:
    """Return the table's rows of a query of median precision, of its nearest true match and of the nearest other person.

    The match is from another camera where there is one. None where no query has a true match, or nobody else is there.
    """
    if run.ranking is None or run.rows is None:
        return None
    precision, evaluated = run.ranking.average_precision, run.rows
    answered = torch.nonzero(precision.isfinite()).flatten()
    if not len(answered):
        return None
    position = answered[precision[answered].argsort(stable=True)[len(answered) // 2]]
    query, gallery = evaluated.query, evaluated.gallery
    distances = torch.linalg.vector_norm(gallery.vectors - query.vectors[position], dim=1)
    same = gallery.person_ids == query.person_ids[position]
    elsewhere = same & (gallery.camera_ids != query.camera_ids[position])
    chosen = [elsewhere if elsewhere.any() else same, ~same]
    if not all(mask.any() for mask in chosen):
        return None
    nearest = [int(distances.masked_fill(~mask, torch.inf).argmin()) for mask in chosen]
    return [int(query.index[position]), *(int(gallery.index[place]) for place in nearest)]
