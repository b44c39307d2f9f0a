import pytest
import torch

from reid_lightning.errors import InputError
from reid_lightning.retrieval.tracklets import pool_tracklets


@pytest.mark.parametrize("normalize", [True, False])
def test_pooling_equals_the_plain_loop(normalize):
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(60, 5, generator=generator, dtype=torch.float64) * 3
    tracklets = torch.randint(-1, 12, (60,), generator=generator) * 7  # -7 stands for alone, too
    expected, seen = [], {}
    for row, tracklet in enumerate(tracklets.tolist()):
        if tracklet < 0 or tracklet not in seen:
            seen[tracklet] = len(expected)
            expected.append((row, []))
        vector = embeddings[row]
        expected[seen[tracklet] if tracklet >= 0 else -1][1].append(
            vector / vector.norm() if normalize else vector
        )
    means = [torch.stack(vectors).mean(dim=0) for _, vectors in expected]
    means = torch.stack([mean / mean.norm() if normalize else mean for mean in means])
    pooled, rows = pool_tracklets(embeddings, tracklets, normalize)
    torch.testing.assert_close(pooled, means, rtol=0, atol=1e-12)
    assert rows.tolist() == [row for row, _ in expected]
    assert len(rows) == 12 + int((tracklets < 0).sum())


def test_nothing_to_pool_changes_nothing():
    embeddings = torch.nn.functional.normalize(torch.randn(4, 3))
    for tracklets in (torch.full((4,), -1), torch.tensor([3, 1, 2, 0])):
        pooled, rows = pool_tracklets(embeddings, tracklets)
        torch.testing.assert_close(pooled, embeddings)
        assert rows.tolist() == [0, 1, 2, 3]
    pooled, rows = pool_tracklets(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    assert pooled.shape == (0, 3)
    assert rows.shape == (0,)


def test_lengths_have_to_fit():
    with pytest.raises(InputError, match=r"tracklets has shape \(3,\) beside 4 embeddings"):
        pool_tracklets(torch.zeros(4, 2), torch.zeros(3, dtype=torch.int64))
