"""Losses over a memory of clusters, against plain loops, and how the memory follows a batch."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from reid_lightning.losses.cluster_contrast import (
    camera_proxy_contrast,
    cluster_nce,
    means_of_groups,
    moved_by_all,
    moved_by_hardest,
)

torch_double = torch.float64


def drawn(seed=0, images=9, clusters=5, size=4):
    generator = torch.Generator().manual_seed(seed)
    queries = normalize(torch.randn(images, size, generator=generator, dtype=torch_double))
    memory = normalize(torch.randn(clusters, size, generator=generator, dtype=torch_double))
    labels = torch.randint(0, clusters, (images,), generator=generator)
    return queries, labels, memory


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_cluster_nce_is_the_formula(temperature):
    queries, labels, memory = drawn()
    costs = []
    for query, label in zip(queries.tolist(), labels.tolist(), strict=True):
        powers = [
            math.exp(sum(a * b for a, b in zip(query, row, strict=True)) / temperature)
            for row in memory.tolist()
        ]
        costs.append(-math.log(powers[label] / sum(powers)))
    assert cluster_nce(queries, labels, memory, temperature).item() == pytest.approx(sum(costs) / len(costs))


def test_cluster_nce_has_the_slope_of_its_value():
    queries, labels, memory = drawn()
    queries.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: cluster_nce(x, labels, memory, 0.3), queries)


# Proxies 0 to 5: clusters and cameras that have seen them.
CLUSTERS, CAMERAS = torch.tensor([0, 0, 1, 1, 2, 3]), torch.tensor([0, 1, 0, 2, 1, 0])


def proxy_terms(queries, labels, memory, temperature, negatives):
    """Both terms by loops over images and proxies."""
    within, across = [], []
    for query, label in zip(queries, labels.tolist(), strict=True):
        similar = [math.exp(float(query @ row) / temperature) for row in memory]
        camera, cluster = int(CAMERAS[label]), int(CLUSTERS[label])
        own = [p for p in range(6) if CAMERAS[p] == camera]
        within.append(-math.log(similar[label] / sum(similar[p] for p in own)))
        positives = [p for p in range(6) if CLUSTERS[p] == cluster and CAMERAS[p] != camera]
        others = sorted((similar[p] for p in range(6) if CLUSTERS[p] != cluster), reverse=True)[:negatives]
        total = sum(similar[p] for p in positives) + sum(others)
        across.append(
            sum(-math.log(similar[p] / total) for p in positives) / len(positives) if positives else 0.0
        )
    return sum(within) / len(within), sum(across) / len(across)


@pytest.mark.parametrize("negatives", [1, 2, 50])
def test_camera_proxies_are_the_formulas(negatives):
    queries, labels, memory = drawn(clusters=6, images=12)
    found = camera_proxy_contrast(queries, labels, memory, CLUSTERS, CAMERAS, 0.5, negatives)
    assert [float(term) for term in found] == pytest.approx(
        proxy_terms(queries, labels, memory, 0.5, negatives)
    )


def test_camera_proxies_have_finite_gradients_where_one_camera_saw_a_cluster():
    queries, _, memory = drawn(clusters=6, images=3)
    queries.requires_grad_()
    labels = torch.tensor([4, 5, 4])  # clusters 2 and 3 have one camera each
    within, across = camera_proxy_contrast(queries, labels, memory, CLUSTERS, CAMERAS, 0.5)
    assert across.item() == 0
    (within + across).backward()
    assert queries.grad.isfinite().all()
    assert queries.grad.abs().sum() > 0


@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.9])
def test_the_memory_follows_images_in_their_order(momentum):
    queries, labels, memory = drawn(images=20)
    expected = memory.clone()
    for query, label in zip(queries, labels.tolist(), strict=True):
        expected[label] = momentum * expected[label] + (1 - momentum) * query
    seen = labels.unique()
    expected[seen] = normalize(expected[seen])
    torch.testing.assert_close(moved_by_all(memory, queries, labels, momentum), expected)


def test_the_memory_follows_the_hardest_image_of_each_cluster():
    queries, labels, memory = drawn(images=20)
    expected = memory.clone()
    for label in labels.unique().tolist():
        own = queries[labels == label]
        hardest = own[(own @ memory[label]).argmin()]
        expected[label] = normalize(0.2 * memory[label] + 0.8 * hardest, dim=0)
    torch.testing.assert_close(moved_by_hardest(memory, queries, labels, 0.2), expected)


@pytest.mark.parametrize("move", [moved_by_all, moved_by_hardest])
def test_clusters_outside_of_the_batch_keep_their_bits(move):
    queries, labels, memory = drawn(images=3, clusters=9)
    moved = move(memory, queries, labels, 0.5)
    outside = torch.ones(9, dtype=bool)
    outside[labels] = False
    assert torch.equal(moved[outside], memory[outside])
    assert not torch.equal(moved[labels], memory[labels])


def test_means_leave_out_images_in_no_group():
    vectors, groups = (
        torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0], [0.0, 2.0]]),
        torch.tensor([0, 0, -1, 1]),
    )
    half = math.sqrt(0.5)
    torch.testing.assert_close(means_of_groups(vectors, groups, 2), torch.tensor([[half, half], [0.0, 1.0]]))
