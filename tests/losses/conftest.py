import pytest
import torch

LABELS = {
    "one identity": [0, 0, 0, 0],
    "one image per identity": [0, 1, 2, 3],
    "single image": [0],
    "unequal counts": [0, 0, 0, 1, 2, 2, 2, 2, 3],
}
VECTORS = {
    "random": lambda n: torch.randn(n, 8),
    "duplicated": lambda n: torch.ones(n, 8),
    "duplicated off the grid": lambda n: torch.linspace(0.1, 1.7, 8).repeat(n, 1),
    "zero": lambda n: torch.zeros(n, 8),
    "some zero": lambda n: torch.randn(n, 8) * (torch.arange(n) % 2)[:, None],
    "opposite": lambda n: torch.ones(n, 8) * (1 - 2.0 * (torch.arange(n) % 2))[:, None],
    "huge": lambda n: 1e4 * torch.randn(n, 8),
    "from bfloat16": lambda n: torch.randn(n, 8).bfloat16().float(),
}


@pytest.fixture
def random_batch():
    """A function from a seed to embeddings and labels, with unequal counts per identity."""

    def batch(seed, dtype=torch.float64):
        generator = torch.Generator().manual_seed(seed)
        count = int(torch.randint(4, 14, (1,), generator=generator))
        labels = torch.randint(0, 4, (count,), generator=generator)
        return torch.randn(count, 5, generator=generator, dtype=dtype), labels

    return batch


@pytest.fixture(params=[f"{vectors}, {labels}" for vectors in VECTORS for labels in LABELS])
def odd_batch(request):
    """Embeddings that want a gradient, labels, and whether a positive and a negative exist."""
    vectors, labels = request.param.split(", ")
    torch.manual_seed(0)
    identities = torch.tensor(LABELS[labels])
    return VECTORS[vectors](len(identities)).requires_grad_(), identities, labels == "unequal counts"
