"""The question of a tracker: when a person is lost, do the vectors find them again n frames later?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.distances import Distance
from reid_lightning.errors import InputError
from reid_lightning.retrieval.similarities import Similarities

_CELLS = 4_000_000  # of similarities at once


@dataclass(frozen=True, eq=False)
class Sightings:
    """Images of people with the time at which they were taken, a row each."""

    vectors: Tensor
    """(N, D)."""
    person_ids: Tensor
    """(N,) integer identities; a negative one is nobody that is looked for, and a wrong answer for everybody."""
    recordings: Tensor
    """(N,) integer recordings, such as a camera's sequence; only frames of one recording can be compared."""
    frames: Tensor
    """(N,) integer frame numbers within the recording."""
    tracklets: Tensor | None = None
    """(N,) integer tracklets, negative where unknown; images of the lost tracklet itself are no answers."""


@dataclass(frozen=True)
class GapRate:
    """How often a person is found again after a gap of so many frames.

    Attributes:
        first: Smallest gap in frames.
        last: Largest gap; None: any above.
        questions: Images that are looked for: some image within the gap shows their person, and some other shows another.
        rate: Share of them whose nearest image within the gap shows their person; NaN without questions.
        chance: The same for an image drawn at random within the gap.
    """

    first: int
    last: int | None
    questions: int
    rate: float
    chance: float


@torch.no_grad()
def reassociation(
    sightings: Sightings, gaps: Sequence[int] = (1, 25, 250), *, distance: Distance = "cosine"
) -> list[GapRate]:
    """Look for the person of every image among the images of the same recording that come a number of frames later.

    That is what a tracker asks of vectors when it has lost somebody: who of those in view is it? Each image asks once for
    every range of gaps. Images at equal distance decide against it, to within the distances' rounding.

    Args:
        sightings: What was seen when.
        gaps: First frames of the ranges, rising: 1, 25, 250 ask about 1 to 24, 25 to 249, and 250 or more frames.
        distance: "cosine", "euclidean" or "sqeuclidean".

    Returns:
        A value per range.

    Raises:
        ValueError: Gaps are not rising whole numbers from 1, or columns differ in length.
        InputError: There is no image, or a vector is not finite.

    Examples:
        >>> vectors = torch.tensor([[0.0], [1.0], [5.0], [0.2], [4.0]])
        >>> people, frames = torch.tensor([1, 1, 2, 2, 1]), torch.tensor([0, 3, 3, 40, 40])
        >>> seen = Sightings(vectors, people, torch.zeros(5, dtype=torch.long), frames)
        >>> [(one.first, one.questions, one.rate) for one in reassociation(seen, [1, 25], distance="euclidean")]
        [(1, 1, 1.0), (25, 3, 0.0)]
    """
    if not gaps or any(type(gap) is not int or gap < 1 for gap in gaps) or list(gaps) != sorted(set(gaps)):
        raise ValueError(f"gaps must be rising whole numbers from 1, such as [1, 25, 250], got {list(gaps)}")
    columns = _columns(sightings)
    if not len(sightings.vectors):
        raise InputError("There is no image to look for: give sightings of one recording or more.")
    lasts: list[int | None] = [*(gap - 1 for gap in gaps[1:]), None]
    found: list[list[NDArray[np.float64]]] = [[] for _ in gaps]
    for rows in _recordings(columns["recordings"]):
        vectors = sightings.vectors[torch.from_numpy(rows).to(sightings.vectors.device)]
        part = {name: column[rows] for name, column in columns.items()}
        similarities = Similarities.of(vectors, vectors, distance)
        for queries, chunk in similarities.chunks(max(1, _CELLS // len(rows))):
            values = chunk.cpu().numpy()
            asked = {name: column[queries][:, None] for name, column in part.items()}
            later = part["frames"] - asked["frames"]
            other = (part["tracklets"] != asked["tracklets"]) | (part["tracklets"] < 0)
            same = (part["person_ids"] == asked["person_ids"]) & (asked["person_ids"] >= 0)
            rounding = _rounding(similarities, queries, len(rows))
            for place, (first, last) in enumerate(zip(gaps, lasts, strict=True)):
                within = (later >= first) & other & (later <= (np.inf if last is None else last))
                found[place].append(_answers(values, rounding, within & same, within & ~same))
    rates = []
    for first, last, parts in zip(gaps, lasts, found, strict=True):
        answers = np.concatenate(parts)
        rate, chance = answers.mean(axis=0) if len(answers) else (float("nan"),) * 2
        rates.append(GapRate(first, last, len(answers), float(rate), float(chance)))
    return rates


def _answers(
    values: NDArray[np.floating],
    rounding: NDArray[np.floating],
    right: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return whether the nearest is right, and the share of right ones, of each row with a right and a wrong one."""
    asked = right.any(axis=1) & wrong.any(axis=1)
    right, wrong, values, rounding = right[asked], wrong[asked], values[asked], rounding[asked]
    best = np.where(right, values - rounding, -np.inf).max(axis=1, initial=-np.inf)
    nearest_wrong = np.where(wrong, values, -np.inf).max(axis=1, initial=-np.inf)
    counts = right.sum(axis=1)
    return np.stack([best > nearest_wrong, counts / (counts + wrong.sum(axis=1)).clip(min=1)], axis=1)


def _rounding(similarities: Similarities, queries: slice, width: int) -> NDArray[np.floating]:
    """Return how much each similarity of a chunk may be off."""
    rows, columns = np.divmod(np.arange((queries.stop - queries.start) * width), width)
    found = similarities.rounding(torch.from_numpy(rows + queries.start), torch.from_numpy(columns))
    plain: NDArray[np.floating] = torch.as_tensor(found).cpu().numpy()
    return np.broadcast_to(plain, rows.shape).reshape(-1, width)


def _columns(sightings: Sightings) -> dict[str, NDArray[np.int64]]:
    count = len(sightings.vectors)
    columns = {}
    for name in ("person_ids", "recordings", "frames", "tracklets"):
        values: Tensor | None = getattr(sightings, name)
        if values is None:
            values = torch.full((count,), -1)
        if values.shape != (count,):
            raise ValueError(
                f"{name} must have one value per vector, got shape {tuple(values.shape)} for {count} vectors"
            )
        columns[name] = values.detach().cpu().numpy().astype(np.int64)
    return columns


def _recordings(recordings: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each recording."""
    order = np.argsort(recordings, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(recordings[order])) + 1)
