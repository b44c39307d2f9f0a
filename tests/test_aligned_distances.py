"""Alignment of stripes against plain programs that follow the paper's equations, one pair at a time."""

import itertools
import math

import pytest
import torch
from torch.autograd import gradcheck

from reid_lightning.distances import aligned_distances, shortest_path


def plain_program(costs):
    """Equation 2, cell by cell."""
    size = len(costs)
    path = [[0.0] * size for _ in range(size)]
    for i, j in itertools.product(range(size), repeat=2):
        before = [path[i - 1][j]] if i else []
        before += [path[i][j - 1]] if j else []
        path[i][j] = costs[i][j] + min(before, default=0.0)
    return path[-1][-1]


def shortest_of_all_paths(costs):
    """Every order of size - 1 steps down among 2 (size - 1) steps, measured."""
    size, lengths = len(costs), []
    for down in itertools.combinations(range(2 * size - 2), size - 1):
        i = j = 0
        length = costs[0][0]
        for step in range(2 * size - 2):
            i, j = (i + 1, j) if step in down else (i, j + 1)
            length += costs[i][j]
        lengths.append(length)
    return min(lengths)


def plain_distance(first, second):
    """Equations 1 and 2 of one pair of people."""

    def cost(f, g):
        u = math.dist(f, g)
        return (math.exp(u) - 1) / (math.exp(u) + 1)

    return plain_program([[cost(f, g) for g in second] for f in first])


def test_path_equals_the_plain_program():
    torch.manual_seed(0)
    costs = torch.rand(5, 20, 8, 8, dtype=torch.float64)
    ours = shortest_path(costs)
    for first, second in itertools.product(range(5), range(20)):
        expected = plain_program(costs[first, second].tolist())
        assert ours[first, second].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_path_is_the_shortest_of_all(size):
    torch.manual_seed(size)
    for costs in torch.rand(20, size, size, dtype=torch.float64):
        assert shortest_path(costs).item() == pytest.approx(shortest_of_all_paths(costs.tolist()), rel=1e-12)


def test_distances_equal_the_paper_s_formula_pair_by_pair():
    torch.manual_seed(0)
    x, y = torch.randn(6, 8, 5, dtype=torch.float64), torch.randn(7, 8, 5, dtype=torch.float64)
    ours = aligned_distances(x, y)
    for i, j in itertools.product(range(6), range(7)):
        assert ours[i, j].item() == pytest.approx(plain_distance(x[i].tolist(), y[j].tolist()), rel=1e-10)
    torch.testing.assert_close(aligned_distances(x), aligned_distances(x, x))


def test_leading_dimensions_are_lists_of_their_own():
    torch.manual_seed(0)
    x, y = torch.randn(4, 1, 6, 3), torch.randn(4, 5, 6, 3)
    together = aligned_distances(x, y)
    assert together.shape == (4, 1, 5)
    for row in range(4):
        torch.testing.assert_close(together[row], aligned_distances(x[row], y[row]))


def test_gradients():
    torch.manual_seed(0)
    x = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(aligned_distances, (x, y))
    assert gradcheck(shortest_path, torch.rand(3, 5, 5, dtype=torch.float64, requires_grad=True))


def test_the_gradient_marks_the_path():
    costs = torch.tensor([[1.0, 9.0, 1.0], [1.0, 9.0, 1.0], [1.0, 1.0, 1.0]], requires_grad=True)
    shortest_path(costs).backward()
    assert costs.grad.tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4])
def test_equal_and_distant_stripes_are_safe(scale):
    torch.manual_seed(0)
    x = (scale * torch.randn(5, 8, 16)).requires_grad_()
    distances = aligned_distances(x)
    assert distances.isfinite().all()
    distances.sum().backward()
    assert x.grad.isfinite().all()
    if scale == 1e4:  # every stripe of another person is at distance 1, the shortest path crosses 15 of them
        assert torch.equal(distances[~torch.eye(5, dtype=torch.bool)], torch.full((20,), 15.0))


@pytest.mark.parametrize("shift", range(8))
def test_a_shift_costs_the_stripes_that_it_loses(shift):
    """Of the 15 pairs on a path 8 - shift show the same part; all others are at distance 1."""
    torch.manual_seed(0)
    person = 1e4 * torch.randn(16, 16)
    moved = aligned_distances(person[None, :8], person[None, shift : shift + 8])
    assert moved.item() == pytest.approx(15 - (8 - shift), abs=1e-5)


def test_half_types_are_computed_in_float32():
    x = torch.randn(3, 4, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = aligned_distances(x)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, aligned_distances(x.float()))


@pytest.mark.parametrize(
    ("first", "second"), [((3, 4), (3, 4)), ((3, 4, 8), (3, 5, 8)), ((3, 4, 8), (3, 4, 7))]
)
def test_shapes_that_do_not_fit_are_refused(first, second):
    with pytest.raises(ValueError, match="equally many stripes"):
        aligned_distances(torch.zeros(first), torch.zeros(second))
