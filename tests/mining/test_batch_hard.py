import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.miners import BatchHardMiner as TheirMiner

from reid_lightning.mining.batch_hard import BatchHardMiner


def plain(embeddings, labels):
    """For each anchor the farthest positive and nearest negative, by plain loops."""
    found = []
    for a in range(len(labels)):
        distance = [(embeddings[a] - other).norm().item() for other in embeddings]
        positives = [i for i in range(len(labels)) if i != a and labels[i] == labels[a]]
        negatives = [i for i in range(len(labels)) if labels[i] != labels[a]]
        if positives and negatives:
            found.append(
                (a, max(positives, key=distance.__getitem__), min(negatives, key=distance.__getitem__))
            )
    return found


@pytest.mark.parametrize("seed", range(50))
def test_equals_plain_loops(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 5, (12,), generator=generator)
    embeddings = torch.randn(12, 6, generator=generator, dtype=torch.float64)
    mined = BatchHardMiner()(embeddings, labels)
    assert list(zip(*(column.tolist() for column in mined), strict=True)) == plain(embeddings, labels)


@pytest.mark.parametrize("seed", range(20))
def test_padded_has_the_same_triplets_and_a_row_for_every_anchor(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 5, (8,), generator=generator)
    embeddings = torch.randn(8, 6, generator=generator, dtype=torch.float64)
    mined = {a: (a, p, n) for a, p, n in plain(embeddings, labels)}
    padded = zip(*(column.tolist() for column in BatchHardMiner().padded(embeddings, labels)), strict=True)
    assert list(padded) == [mined.get(anchor, (anchor, anchor, anchor)) for anchor in range(8)]


def test_equals_pytorch_metric_learning():
    torch.manual_seed(0)
    embeddings, labels = torch.randn(32, 16), torch.arange(8).repeat_interleave(4)
    theirs = TheirMiner(distance=LpDistance(normalize_embeddings=False))(embeddings, labels)
    for ours, other in zip(BatchHardMiner()(embeddings, labels), theirs, strict=True):
        assert torch.equal(ours, other)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [5]])
def test_without_a_pair_there_is_no_triplet(labels):
    mined = BatchHardMiner()(torch.randn(len(labels), 4), torch.tensor(labels))
    assert [column.numel() for column in mined] == [0, 0, 0]
    assert all(column.dtype == torch.int64 for column in mined)
