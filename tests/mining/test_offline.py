import numpy as np
import pytest
import torch

from reid_lightning.mining.offline import OfflineHardMiner, OfflineMiner, wrong_neighbours


def by_loops(embeddings, labels, neighbours):
    """Wrong neighbors of each identity, by sorting every distance."""
    pools = {label: set() for label in labels.tolist()}
    for image in range(len(labels)):
        distances = [float((embeddings[image] - other).norm()) for other in embeddings]
        order = sorted((j for j in range(len(labels)) if j != image), key=lambda j: (distances[j], j))
        pools[int(labels[image])] |= {j for j in order[:neighbours] if labels[j] != labels[image]}
    return [sorted(pools[label]) for label in sorted(pools)]


def as_lists(pools):
    return [part.tolist() for part in np.split(pools.members, pools.starts[1:-1])]


@pytest.mark.parametrize("seed", range(20))
def test_pools_equal_those_of_plain_loops(seed):
    generator = torch.Generator().manual_seed(seed)
    count, people = 60, 7
    labels = torch.cat([torch.arange(people), torch.randint(people, (count - people,), generator=generator)])
    embeddings = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    neighbours = (1, 3, 10)[seed % 3]
    assert as_lists(wrong_neighbours(embeddings, labels, neighbours)) == by_loops(
        embeddings, labels, neighbours
    )


def test_an_image_is_not_its_own_neighbour_even_among_equal_ones():
    pools = wrong_neighbours(torch.zeros(30, 2), torch.arange(30) % 3, 2)
    for label, pool in enumerate(as_lists(pools)):
        assert all(image % 3 != label for image in pool)


def test_fewer_images_than_neighbours_take_all_there_are():
    pools = wrong_neighbours(torch.arange(4.0)[:, None], torch.tensor([0, 0, 1, 1]), 10)
    assert as_lists(pools) == [[2, 3], [0, 1]]


def test_a_separated_training_set_has_empty_pools():
    embeddings = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    pools = wrong_neighbours(embeddings, torch.tensor([0, 0, 1, 1]), 1)
    assert pools.filled == 0
    assert pools.starts.tolist() == [0, 0, 0]


def test_triplets_are_read_by_place():
    anchors, positives, negatives = OfflineMiner()(torch.randn(9, 2), torch.zeros(9))
    assert anchors.tolist() == [0, 3, 6]
    assert (positives - anchors).unique().tolist() == [1]
    assert (negatives - anchors).unique().tolist() == [2]
    with pytest.raises(ValueError, match=r"^a batch of 8 images is not one of triplets"):
        OfflineMiner()(torch.randn(8, 2), torch.zeros(8))


@pytest.mark.parametrize(
    ("first_round", "every", "epochs", "due"),
    [
        (0.5, 5, 16, [8, 13]),
        (0.0, 1, 4, [1, 2, 3]),
        (0.25, 2, 4, [1, 3]),
        (0.9, 1, 3, []),
        (0.5, 100, 100, [50]),
    ],
)
def test_searches_begin_after_the_first_round_and_repeat(first_round, every, epochs, due):
    miner = OfflineHardMiner(first_round, every)
    assert [done for done in range(epochs + 1) if miner.is_due(done, epochs)] == due


@pytest.mark.parametrize(
    "setting", [{"first_round": 1.0}, {"every": 0}, {"neighbours": 0}, {"share": 0.0}, {"share": 1.1}]
)
def test_settings_out_of_range_are_errors(setting):
    with pytest.raises(ValueError, match=f"^{next(iter(setting))} must be"):
        OfflineHardMiner(**setting)
