import numpy as np
import pytest
import torch.distributed

from reid_lightning.data.triplet_sampler import NegativePools, TripletSampler
from reid_lightning.errors import InputError

LABELS = np.repeat([0, 1, 2, 3, 4], [5, 3, 1, 4, 2])
CAMERAS = np.array([0, 0, 1, 2, 2, 0, 0, 0, 1, -1, -1, 0, 1, 5, 5])
ROWS = np.random.default_rng(3).permutation(100)[: len(LABELS)]


def sampler(triplets=3, anchors=1.0, seed=0):
    shuffled = np.random.default_rng(1).permutation(len(LABELS))
    return TripletSampler(
        triplets, anchors, rows=ROWS[shuffled], labels=LABELS[shuffled], cameras=CAMERAS[shuffled], seed=seed
    ), shuffled


def allowed_positives(anchor):
    """Positions that may be the positive of a position, by the rule read aloud."""
    others = [i for i in range(len(LABELS)) if LABELS[i] == LABELS[anchor] and i != anchor]
    elsewhere = [i for i in others if CAMERAS[i] != CAMERAS[anchor] or -1 in (CAMERAS[i], CAMERAS[anchor])]
    return elsewhere or others


def drawn(made, epochs):
    """Return positions (anchor, positive, negative) of all triplets of some epochs."""
    place = {row: position for position, row in enumerate(ROWS.tolist())}
    triplets = []
    for epoch in range(epochs):
        made.set_epoch(epoch)
        for batch in made:
            positions = [place[row] for row, _ in batch]
            triplets += list(zip(positions[::3], positions[1::3], positions[2::3], strict=True))
    return triplets


def test_every_triplet_is_allowed_and_every_allowed_one_equally_likely():
    triplets = drawn(sampler(1)[0], 3000)
    assert {anchor for anchor, _, _ in triplets} == set(range(len(LABELS))) - {8}  # a person's only image
    for anchor in range(len(LABELS)):
        of_anchor = [(p, n) for a, p, n in triplets if a == anchor]
        if not of_anchor:
            continue
        assert len(of_anchor) == 3000
        for drawn_ones, expected in (
            ([p for p, _ in of_anchor], allowed_positives(anchor)),
            ([n for _, n in of_anchor], np.flatnonzero(LABELS[anchor] != LABELS).tolist()),
        ):
            values, counts = np.unique(drawn_ones, return_counts=True)
            assert values.tolist() == expected
            share = 1 / len(expected)
            assert np.abs(counts / 3000 - share).max() < 5 * np.sqrt(share * (1 - share) / 3000) + 1e-9


def test_an_epoch_takes_each_anchor_once_or_the_wanted_fraction():
    whole, part = sampler(3)[0], sampler(3, anchors=0.5)[0]
    assert (len(whole), len(part)) == (14 // 3, 7 // 3)
    anchors = [anchor for anchor, _, _ in drawn(whole, 1)]
    assert len(anchors) == len(set(anchors)) == 12


def test_the_share_of_hard_negatives_comes_from_the_pool_of_the_anchors_identity():
    made, shuffled = sampler(3)
    given = {0: [5, 13], 1: [0], 3: [2], 4: []}  # positions in LABELS, by identity
    at = np.argsort(shuffled)
    members = [[int(at[i]) for i in given.get(label, [])] for label in range(5)]
    starts = np.concatenate([[0], np.cumsum([len(pool) for pool in members])])
    pools = NegativePools(starts, np.array([place for pool in members for place in pool]))
    assert pools.filled == 3
    before = drawn(made, 30)
    made.take_negatives_from(pools, 0.7)
    after = drawn(made, 30)
    for number, ((a, p, n), old) in enumerate(zip(after, before, strict=True)):
        assert (a, p) == old[:2]
        pool = given[LABELS[a].item()]
        if number % 3 < 2 and pool:  # 0.7 of 3 triplets are 2
            assert n in pool
        else:
            assert n == old[2]
    assert {n for a, _, n in after if LABELS[a] == 0} >= {5, 13}


def test_seeds_and_epochs_repeat():
    assert drawn(sampler(seed=4)[0], 2) == drawn(sampler(seed=4)[0], 2)
    assert drawn(sampler(seed=4)[0], 2) != drawn(sampler(seed=5)[0], 2)
    first = sampler()[0].global_batches()
    made = sampler()[0]
    made.set_epoch(1)
    assert not np.array_equal(first, made.global_batches())


def test_ranks_share_a_batch_in_whole_triplets(monkeypatch):
    alone = [list(batch) for batch in sampler(4)[0]]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    shares = []
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        shares.append([list(batch) for batch in sampler(4)[0]])
        with pytest.raises(ValueError, match=r"^triplets must be a multiple of the 2 processes .* got 3"):
            sampler(3)
    assert [left + right for left, right in zip(*shares, strict=True)] == alone
    assert {len(batch) for batch in shares[0]} == {6}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"triplets": 0}, "^triplets must be a whole number >= 1, got 0"),
        ({"anchors": 0.0}, "^anchors must be .* got 0.0"),
        ({"triplets": 40}, "^triplets must be at most the 14 anchors"),
    ],
)
def test_settings_out_of_range_are_errors(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        sampler(**settings)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_images_without_triplets_are_an_error(labels):
    with pytest.raises(InputError, match="two people and two images"):
        TripletSampler(1, rows=np.arange(3), labels=np.array(labels), cameras=np.arange(3), seed=0)
