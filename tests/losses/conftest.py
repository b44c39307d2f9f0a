import pytest
import torch

pytest.register_assert_rewrite("tester")


@pytest.fixture
def random_batch():
    """A function from a seed to embeddings and labels, with unequal counts per identity."""

    def batch(seed, dtype=torch.float64):
        generator = torch.Generator().manual_seed(seed)
        count = int(torch.randint(4, 14, (1,), generator=generator))
        labels = torch.randint(0, 4, (count,), generator=generator)
        return torch.randn(count, 5, generator=generator, dtype=dtype), labels

    return batch
