"""Kinds of triplets against a count one by one."""

from itertools import product

import pytest
import torch

from reid_lightning.distances import pairwise_distances
from reid_lightning.mining.kinds import EASY, HARD, KINDS, SEMI_HARD, BatchTriplets


def one_by_one(distances, labels, margin):
    """Count and collect the triplets of each kind in plain loops."""
    found = [[], [], []]
    people = labels.tolist()
    for a, p, n in product(range(len(people)), repeat=3):
        if a != p and people[a] == people[p] and people[a] != people[n]:
            near, far = distances[a, p], distances[a, n]
            found[0 if far <= near else 1 if far < near + margin else 2].append((a, p, n))
    return found


@pytest.mark.parametrize("margin", [0.0, 0.3, 5.0, float("inf")])
@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2, 2, 3], [0, 0, 0, 0], [0, 1, 2, 3], [5, 5, 7]])
def test_counts_are_those_of_a_loop(labels, margin):
    labels = torch.tensor(labels)
    distances = pairwise_distances(torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0)))
    batch = BatchTriplets(distances, labels, margin)
    expected = one_by_one(distances, labels, margin)
    counts = batch.by_anchor()
    assert counts.sum(dim=0).tolist() == [len(triplets) for triplets in expected]
    for kind, triplets in enumerate(expected):
        assert counts[:, kind].tolist() == [
            sum(a == anchor for a, _, _ in triplets) for anchor in range(len(labels))
        ]
        if triplets:
            assert batch.of(tuple(torch.tensor(triplets).T))[kind] == len(triplets)


def test_equal_distances_are_hard():
    labels = torch.tensor([0, 0, 1, 1])
    batch = BatchTriplets(torch.zeros(4, 4), labels, 0.3)
    assert batch.by_anchor().sum(dim=0).tolist() == [8, 0, 0]


def test_examples_are_triplets_of_their_kind_of_different_people():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(48) // 4
    vectors = torch.randn(12, 4, generator=generator)[labels] + torch.randn(48, 4, generator=generator)
    batch = BatchTriplets(pairwise_distances(vectors), labels, 0.3)
    expected = one_by_one(batch.distances, labels, 0.3)
    for kind in (HARD, SEMI_HARD, EASY):
        shown = batch.examples(kind, 5)
        assert len(shown) == 5
        assert set(shown) <= set(expected[kind])
        assert len({int(labels[anchor]) for anchor, _, _ in shown}) == 5
        assert shown == batch.examples(kind, 5)
    assert len(KINDS) == 3


def test_more_examples_than_people_take_further_anchors():
    batch = BatchTriplets(torch.zeros(4, 4), torch.tensor([0, 0, 1, 1]), 0.3)
    assert [anchor for anchor, _, _ in batch.examples(HARD, 4)] == [0, 2, 1, 3]
    assert batch.examples(EASY, 4) == []
