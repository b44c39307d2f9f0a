import itertools
import pickle

import numpy as np
import pytest
import torch.distributed

from reid_lightning.data.samplers import PKSampler, ShardSampler, ShuffleSampler


def sampler(counts, identities, images, seed=0, cameras=3):
    """Return a P x K sampler over identities with these numbers of images, and its labels by row."""
    generator = np.random.default_rng(5)
    labels = np.repeat(np.arange(len(counts)) * 10, counts)
    camera_ids = generator.integers(0, cameras, len(labels)) if cameras else np.full(len(labels), -1)
    rows = generator.permutation(1000)[: len(labels)]
    made = PKSampler(identities, images, rows=rows, labels=labels, cameras=camera_ids, seed=seed)
    return made, dict(zip(rows.tolist(), labels.tolist(), strict=True))


def rows_of(batches):
    return [[row for row, _ in batch] for batch in batches]


@pytest.fixture
def ranks(monkeypatch):
    """Return a function that makes this process look like one of several."""

    def pretend(rank, world):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world)

    return pretend


COUNTS = [
    ([7, 8, 4, 5, 9, 6], 2, 4),
    ([1, 2, 3, 40], 2, 4),
    ([30, 2, 2], 3, 4),
    ([4] * 10, 10, 4),
    ([17, 3, 55, 21, 8, 12, 4, 4], 3, 4),
    ([5, 5], 1, 2),
]


@pytest.mark.parametrize(("counts", "identities", "images"), COUNTS)
def test_batches_hold_p_identities_times_k_images(counts, identities, images):
    made, labels = sampler(counts, identities, images)
    for epoch in range(5):
        made.set_epoch(epoch)
        batches = rows_of(made)
        assert len(batches) == len(made)
        for batch in batches:
            groups = np.reshape([labels[row] for row in batch], (identities, images))
            assert (groups == groups[:, :1]).all()
            assert len(set(groups[:, 0].tolist())) == identities


@pytest.mark.parametrize(("counts", "identities", "images"), COUNTS)
def test_length_is_the_largest_possible(counts, identities, images):
    groups = [max(count // images, 1) for count in counts]
    possible = [
        batches
        for batches in range(1, sum(groups) + 1)
        if sum(min(group, batches) for group in groups) >= identities * batches
    ]
    assert len(sampler(counts, identities, images)[0]) == max(possible)


def test_an_epoch_shows_each_image_once_and_drops_only_what_fills_no_group():
    counts = [16, 9, 13, 30, 8, 20, 12, 18]
    made, labels = sampler(counts, 4, 4)
    seen = list(itertools.chain(*rows_of(made)))
    assert len(seen) == len(set(seen))
    groups = sum(count // 4 for count in counts)
    assert groups * 4 - len(seen) < 4 * 4
    shown = {row for epoch in range(30) for row in _epoch_rows(made, epoch)}
    assert shown == set(labels)  # over the epochs nothing stays unseen


def _epoch_rows(made, epoch):
    made.set_epoch(epoch)
    return itertools.chain(*rows_of(made))


def test_short_identities_repeat_all_their_images_evenly():
    made, _ = sampler([3, 3], 2, 8)
    (batch,) = rows_of(made)
    times = np.unique(batch, return_counts=True)[1]
    assert len(times) == 6
    assert set(times.tolist()) == {2, 3}


def test_cameras_are_spread_within_an_identity():
    labels, cameras = np.zeros(40, int), np.repeat([0, 1, 2, 3], 10)
    made = PKSampler(1, 4, rows=np.arange(40), labels=labels, cameras=cameras, seed=0)
    for batch in rows_of(made):
        assert sorted(cameras[batch].tolist()) == [0, 1, 2, 3]


def test_rare_cameras_are_mixed_in_while_they_last():
    cameras = np.array([0] * 18 + [1, 1])
    made = PKSampler(1, 2, rows=np.arange(20), labels=np.zeros(20, int), cameras=cameras, seed=0)
    mixed = [set(cameras[batch].tolist()) for batch in rows_of(made)]
    assert mixed.count({0, 1}) == 2


def test_order_follows_from_seed_and_epoch_alone():
    def epochs(seed, *numbers):
        made, _ = sampler([8] * 12, 4, 2, seed)
        result = []
        for epoch in numbers:
            made.set_epoch(epoch)
            result.append(list(made))
        return result

    zero, one = epochs(7, 0, 1)
    assert zero != one
    assert epochs(7, 1, 0) == [one, zero]
    assert epochs(8, 0) != [zero]


def test_augmentation_seeds_are_distinct_within_and_across_epochs():
    made, _ = sampler([8] * 12, 4, 2)
    seeds = []
    for epoch in range(3):
        made.set_epoch(epoch)
        seeds += [seed for batch in made for _, seed in batch]
    assert len(set(seeds)) == len(seeds) == 3 * 96


def test_all_identities_are_mixed_with_all_others():
    made, labels = sampler([4] * 6, 2, 4)
    pairs = set()
    for epoch in range(60):
        made.set_epoch(epoch)
        pairs |= {frozenset(labels[row] for row in batch) for batch in rows_of(made)}
    assert len(pairs) == 15


@pytest.mark.parametrize("make", [lambda: sampler([9, 8, 5, 7, 30, 6], 4, 3)[0], lambda: shuffled(22, 8)])
def test_ranks_share_the_batches_of_one_process(make, ranks):
    alone = list(make())
    shares = []
    for rank in range(2):
        ranks(rank, 2)
        share = make()
        assert len(share) == len(alone)
        shares.append(list(share))
    assert [first + second for first, second in zip(*shares, strict=True)] == alone
    assert all(len(first) == len(second) for first, second in zip(*shares, strict=True))


def shuffled(count, batch_size):
    return ShuffleSampler(batch_size, rows=np.arange(count) + 50, labels=None, cameras=None, seed=0)


def test_shuffle_shows_each_image_at_most_once():
    made = shuffled(22, 8)
    seen = list(itertools.chain(*rows_of(made)))
    assert len(made) == 2
    assert len(set(seen)) == 16
    assert set(seen) <= set(range(50, 72))


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_shards_are_strided_and_unpadded(ranks, world):
    rows = np.arange(100, 113)
    shards = []
    for rank in range(world):
        ranks(rank, world)
        made = ShardSampler(rows, 2)
        batches = rows_of(made)
        assert len(batches) == len(made)
        assert max(map(len, batches)) <= 2
        shards.append(list(itertools.chain(*batches)))
        assert shards[-1] == rows[rank::world].tolist()
    assert sorted(itertools.chain(*shards)) == rows.tolist()


def test_impossible_sizes_are_named(ranks):
    with pytest.raises(ValueError, match=r"^identities must be at most the 3 training identities, got 4"):
        sampler([4] * 3, 4, 2)
    with pytest.raises(ValueError, match=r"^images_per_identity must be a whole number >= 1, got 0"):
        sampler([4] * 3, 2, 0)
    with pytest.raises(ValueError, match=r"^batch_size must be between 1 and the 22 images, got 23"):
        shuffled(22, 23)
    ranks(0, 2)
    with pytest.raises(ValueError, match=r"^identities must be a multiple of the 2 processes .* got 3"):
        sampler([4] * 3, 3, 2)
    with pytest.raises(ValueError, match=r"^batch_size must be a multiple of the 2 processes .* got 7"):
        shuffled(22, 7)


def test_samplers_can_be_pickled():
    made = sampler([8] * 4, 2, 2)[0]
    assert list(pickle.loads(pickle.dumps(made))) == list(made)


def test_many_identities_of_uneven_size():
    counts = np.random.default_rng(0).integers(1, 60, 300).tolist()
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(300), counts)
    made = PKSampler(
        16,
        4,
        rows=np.arange(len(labels)),
        labels=labels,
        cameras=generator.integers(0, 6, len(labels)),
        seed=0,
    )
    batches = rows_of(made)
    assert len(batches) == len(made)
    assert all(len(set(labels[batch].tolist())) == 16 for batch in batches)
