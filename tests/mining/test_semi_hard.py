import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.miners import TripletMarginMiner

from reid_lightning.mining.semi_hard import SemiHardMiner


def rows(indices):
    return set(zip(*(column.tolist() for column in indices), strict=True))


def plain(embeddings, labels):
    """For each anchor and positive the nearest farther negative, by plain loops."""
    found = set()
    for a in range(len(labels)):
        distance = [(embeddings[a] - other).norm().item() for other in embeddings]
        for p in range(len(labels)):
            farther = [n for n in range(len(labels)) if labels[n] != labels[a] and distance[n] > distance[p]]
            if p != a and labels[p] == labels[a] and farther:
                found.add((a, p, min(farther, key=distance.__getitem__)))
    return found


@pytest.mark.parametrize("seed", range(50))
def test_equals_plain_loops(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 5, (12,), generator=generator)
    embeddings = torch.randn(12, 6, generator=generator, dtype=torch.float64)
    mined = SemiHardMiner()(embeddings, labels)
    assert rows(mined) == plain(embeddings, labels)
    assert len(mined[0]) == len(plain(embeddings, labels))


@pytest.mark.parametrize("seed", range(10))
def test_is_the_hardest_of_pytorch_metric_learnings_semi_hard_triplets(seed):
    torch.manual_seed(seed)
    embeddings, labels = torch.randn(24, 8, dtype=torch.float64), torch.arange(6).repeat_interleave(4)
    theirs = TripletMarginMiner(
        margin=1e9, type_of_triplets="semihard", distance=LpDistance(normalize_embeddings=False)
    )(embeddings, labels)
    hardest = {}
    for a, p, n in sorted(rows(theirs)):
        distance = (embeddings[a] - embeddings[n]).norm().item()
        hardest[a, p] = min(hardest.get((a, p), (distance, n)), (distance, n))
    assert rows(SemiHardMiner()(embeddings, labels)) == {(a, p, n) for (a, p), (_, n) in hardest.items()}


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [5]])
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_without_a_pair_there_is_no_triplet(labels, scale):
    mined = SemiHardMiner()(scale * torch.randn(len(labels), 4), torch.tensor(labels))
    assert [column.numel() for column in mined] == [0, 0, 0]
    assert all(column.dtype == torch.int64 for column in mined)


def test_without_a_farther_negative_there_is_no_triplet():
    embeddings, labels = torch.tensor([[0.0], [5.0], [1.0]]), torch.tensor([0, 0, 1])
    assert rows(SemiHardMiner()(embeddings, labels)) == set()  # the other person lies between the two images
