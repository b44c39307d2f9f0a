"""Found again after a gap: against scikit-learn's nearest neighbors, one question at a time."""

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from reid_lightning.errors import InputError
from reid_lightning.retrieval import reassociation as module
from reid_lightning.retrieval.reassociation import Sightings, reassociation


def scene(seed, count=120):
    generator = torch.Generator().manual_seed(seed)

    def integers(high):
        return torch.randint(high, (count,), generator=generator)

    people = integers(7) - 1  # -1: nobody who is looked for
    centers = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    vectors = centers[people] + torch.randn(count, 5, generator=generator, dtype=torch.float64)
    return Sightings(vectors, people, integers(3), integers(60), integers(30) - 2)


def oracle(seen, first, last, metric):
    right = chances = questions = 0
    everything = zip(*(getattr(seen, name).tolist() for name in NAMES), strict=True)
    rows = list(everything)
    for i, (person, recording, frame, tracklet) in enumerate(rows):
        candidates = [
            j
            for j, (_, other_recording, other_frame, other_tracklet) in enumerate(rows)
            if other_recording == recording
            and first <= other_frame - frame <= last
            and (other_tracklet != tracklet or tracklet < 0)
        ]
        same = [rows[j][0] == person for j in candidates]
        if person < 0 or not any(same) or all(same):
            continue
        search = NearestNeighbors(n_neighbors=1, metric=metric).fit(seen.vectors[candidates].numpy())
        nearest = search.kneighbors(seen.vectors[i : i + 1].numpy(), return_distance=False)[0, 0]
        right, questions, chances = right + same[nearest], questions + 1, chances + np.mean(same)
    return questions, right / questions, chances / questions


NAMES = ("person_ids", "recordings", "frames", "tracklets")


@pytest.mark.parametrize(("distance", "metric"), [("cosine", "cosine"), ("euclidean", "euclidean")])
@pytest.mark.parametrize("cells", [10**6, 40])
def test_rates_are_those_of_scikit_learns_neighbours(monkeypatch, distance, metric, cells):
    monkeypatch.setattr(module, "_CELLS", cells)  # a few questions at a time
    for seed in range(3):
        seen = scene(seed)
        found = reassociation(seen, [1, 10, 30], distance=distance)
        assert [(one.first, one.last) for one in found] == [(1, 9), (10, 29), (30, None)]
        for one in found:
            expected = oracle(seen, one.first, one.last or math.inf, metric)
            assert (one.questions, one.rate, one.chance) == pytest.approx(expected)


def test_equal_vectors_find_nobody_and_without_tracklets_no_answer_is_left_out():
    people, frames = torch.tensor([0, 0, 1]), torch.tensor([0, 5, 5])
    seen = Sightings(torch.ones(3, 4), people, torch.zeros(3, dtype=torch.long), frames)
    (one,) = reassociation(seen, [1])
    assert (one.questions, one.rate, one.chance) == (1, 0.0, 0.5)
    (apart,) = reassociation(Sightings(torch.ones(3, 4), people, torch.arange(3), frames), [1])
    assert apart.questions == 0
    assert math.isnan(apart.rate)


def test_wrong_arguments_are_named():
    seen = scene(0)
    for gaps in ([], [0], [5, 1], [1, 1], [1.5]):
        with pytest.raises(ValueError, match="gaps must be rising whole numbers from 1"):
            reassociation(seen, gaps)
    with pytest.raises(ValueError, match="frames must have one value per vector"):
        reassociation(Sightings(seen.vectors, seen.person_ids, seen.recordings, seen.frames[:5]))
    none = torch.zeros(0, dtype=torch.long)
    with pytest.raises(InputError, match="no image to look for"):
        reassociation(Sightings(torch.zeros(0, 3), none, none, none))
