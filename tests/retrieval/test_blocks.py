"""Neighbors in blocks against every distance computed by scipy in float64."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from reid_lightning.errors import InputError
from reid_lightning.retrieval import blocks as module
from reid_lightning.retrieval.blocks import Block, nearest_in_blocks, squared_lengths
from reid_lightning.retrieval.neighbours import largest


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    for name, value in (
        ("FEW_ROWS", 64),
        ("MANY_ROWS", 32),
        ("MEMBERS", 2),
        ("CACHED_ROWS", 16),
        ("QUERIES", 7),
    ):
        monkeypatch.setattr(module, name, value)


def cut(vectors, *places, allowed=None):
    """Cut vectors into blocks."""
    found = []
    for start, end in zip((0, *places), (*places, len(vectors)), strict=True):
        part = vectors[start:end]
        found.append(Block(part, squared_lengths(part), None if allowed is None else allowed[start:end]))
    return found


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("queries", [1, 3, 20])
@pytest.mark.parametrize("share", [None, 0.9, 0.3, 0.02])
def test_equals_brute_force(distance, dtype, queries, share):
    random = np.random.default_rng(queries)
    vectors = random.normal(size=(300, 12)).astype(dtype)
    asked = random.normal(size=(queries, 12)).astype(np.float32)
    allowed = None if share is None else random.random(300) < share
    expected = cdist(asked.astype(np.float64), vectors.astype(np.float64), distance)
    if allowed is not None:
        expected[:, ~allowed] = np.inf
    order = np.argsort(expected, axis=1, kind="stable")[:, :9]
    sorted_distances = np.take_along_axis(expected, order, 1)
    found = nearest_in_blocks(
        torch.from_numpy(asked), cut(vectors, 5, 40, 40, 200, allowed=allowed), 9, distance
    )
    np.testing.assert_allclose(found.distances.numpy(), sorted_distances, rtol=2e-5, atol=2e-5)
    assert np.array_equal(found.indices.numpy(), np.where(np.isinf(sorted_distances), -1, order))


@pytest.mark.parametrize("queries", [2, 30])
def test_the_earlier_of_equals_comes_first_through_all_blocks(queries):
    vectors = np.random.default_rng(0).integers(0, 3, (400, 1)).astype(np.float32)
    expected = np.argsort(vectors[:, 0], kind="stable")
    for k in (1, 3, 40, 200):
        found = nearest_in_blocks(torch.zeros(queries, 1), cut(vectors, 130, 131), k, "sqeuclidean")
        assert (found.indices.numpy() == expected[:k]).all()


def test_zero_vectors_and_short_lists():
    vectors = np.array([[0, 0], [1, 0]], np.float32)
    found = nearest_in_blocks(torch.tensor([[1.0, 0.0]]), cut(vectors), 4)
    assert found.indices.tolist() == [[1, 0, -1, -1]]
    assert found.distances.tolist() == [[0, 1, torch.inf, torch.inf]]
    assert nearest_in_blocks(torch.ones(1, 2), [], 1).indices.tolist() == [[-1]]


def test_bad_input_is_named():
    with pytest.raises(InputError, match="Query vector 1 is not finite"):
        nearest_in_blocks(torch.tensor([[0.0], [torch.nan]]), [], 1)
    with pytest.raises(ValueError, match="queries of 2 numbers do not fit vectors of 1"):
        nearest_in_blocks(torch.ones(1, 2), cut(np.ones((1, 1), np.float32)), 1)
    with pytest.raises(ValueError, match="k must be >= 1, got 0"):
        nearest_in_blocks(torch.ones(1, 1), [], 0)


@pytest.mark.parametrize(("width", "k"), [(1000, 1), (1000, 7), (1023, 20), (5000, 3), (100, 90), (16, 1)])
@pytest.mark.parametrize("different", [None, 5, 200])
def test_largest_equals_a_stable_sort(width, k, different):
    torch.manual_seed(width)
    values = torch.randn(20, width) if different is None else torch.randint(different, (20, width)).float()
    values[3, : width // 2] = -torch.inf
    values[4] = -torch.inf
    expected = values.sort(dim=1, descending=True, stable=True).indices[:, :k]
    assert torch.equal(largest(values, k), expected)
