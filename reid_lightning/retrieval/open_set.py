"""How often people are identified: all of them enrolled, and with strangers among those who are asked about."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reid_lightning.distances import Distance
from reid_lightning.errors import InputError, require
from reid_lightning.retrieval.matches import CameraPolicy, Matches, Side
from reid_lightning.retrieval.neighbours import nearest
from reid_lightning.retrieval.verification import threshold_at
from reid_lightning.retrieval.voting import vote

ENROLLED = 0.5  # share of the people who are enrolled where strangers are asked about too


class OpenSetRate(NamedTuple):
    """What a threshold gives."""

    false_alarms: float
    """Largest share of the strangers who may be taken for somebody (FPIR)."""
    threshold: float
    """Largest distance at which a query is known."""
    detected: float
    """Share of the enrolled who are known, and by their own name (DIR, or TPIR at rank 1)."""


def open_set_rates(
    distances: Tensor, correct: Tensor, enrolled: Tensor, false_alarms: Sequence[float] = (0.01, 0.1)
) -> list[OpenSetRate]:
    """Return detection and identification rates at given false alarm rates (Grother, Ngan and Hanaoka, NIST IR 8271, 2019).

    The threshold for a false alarm rate is the largest at which no larger share of the strangers is known; strangers at
    equal distances are known together or not at all.

    Args:
        distances: (Q,) of each query's best candidate, infinite without one.
        correct: (Q,) bool, whether this candidate is the query's person.
        enrolled: (Q,) bool, whether the query's person is enrolled; the others are strangers.
        false_alarms: Rates asked for, each from 0 to 1.

    Raises:
        ValueError: A rate is not between 0 and 1.
        InputError: There are no enrolled queries or no strangers.

    Examples:
        >>> distances, correct = torch.tensor([0.1, 0.2, 0.6, 0.3, 0.5]), torch.tensor([True, False, True, False, False])
        >>> enrolled = torch.tensor([True, True, True, False, False])
        >>> [round(rate.detected, 2) for rate in open_set_rates(distances, correct, enrolled, (0.0, 0.5, 1.0))]
        [0.33, 0.33, 0.67]
    """
    far, right, known = distances.double().numpy(), correct.numpy(), enrolled.numpy()
    if known.all() or not known.any():
        raise InputError(
            "Open-set rates need queries of people enrolled and of people who are not; "
            f"of {len(known)} queries {int(known.sum())} are enrolled."
        )
    strangers = np.sort(far[~known])
    rates = []
    for rate in false_alarms:
        require(0 <= rate <= 1, "false_alarms", "between 0 and 1", rate)
        threshold = threshold_at(strangers, rate)
        detected = (right & (far <= threshold))[known].mean()
        rates.append(OpenSetRate(rate, threshold, float(detected)))
    return rates


@torch.no_grad()
def open_set_scores(
    query: Side,
    gallery: Side,
    *,
    k: int = 5,
    distance: Distance = "cosine",
    camera_policy: CameraPolicy = "exclude_same_camera",
    seed: int = 0,
) -> dict[str, float]:
    """Identify the queries of a test set by the votes of the gallery's images: all enrolled first, then half of them.

    Args:
        query: The queries.
        gallery: The gallery, without distractors: nobody enrols them.
        k: Nearest images that vote.
        distance: "cosine", "euclidean" or "sqeuclidean".
        camera_policy: As in `Matches.of`; a query whose person has no other image left is not counted.
        seed: Which half of the people is enrolled.

    Returns:
        `rate`: share of the queries whose best candidate is right when everybody is enrolled. `detected_at_1` and
        `detected_at_10`: share of the enrolled who are known and named right where 1 % and 10 % of the others are taken for
        somebody, with `threshold_at_1` and `threshold_at_10`.

    Raises:
        InputError: No query can be identified, or there is nobody to enrol or nobody else.
    """
    people = gallery.person_ids.unique()
    half = torch.randperm(len(people), generator=torch.Generator().manual_seed(seed)).to(people.device)
    some = people[half[: round(ENROLLED * len(people))]]

    def best(enrolled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return distance and correctness of each query's best candidate, and whether it has an image to be found."""
        images = gallery.select(torch.isin(gallery.person_ids, enrolled))
        matches = Matches.of(query, images, camera_policy)
        found = nearest(query.vectors, images.vectors, k, matches, distance=distance)
        shown = torch.where(found.indices >= 0, images.person_ids[found.indices], -1)
        candidates = vote(shown, found.distances, distance)
        pairs, _, counted = matches.of_queries(slice(0, len(query)))
        present = torch.from_numpy(np.bincount(pairs[counted], minlength=len(query)) > 0)
        return candidates.distances[:, 0], candidates.people[:, 0] == query.person_ids.cpu(), present

    _, correct, present = best(people)
    if not present.any():
        raise InputError(
            "No query has an enrolled image of its person left; check the cameras or the identities."
        )
    summary = {"rate": correct[present].double().mean().item()}
    distances, correct, present = best(some)
    stranger = ~torch.isin(query.person_ids, some).cpu()
    counted = present | stranger
    for rate in open_set_rates(distances[counted], correct[counted], present[counted]):
        percent = round(100 * rate.false_alarms)
        summary |= {f"detected_at_{percent}": rate.detected, f"threshold_at_{percent}": rate.threshold}
    return summary
