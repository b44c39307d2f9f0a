"""Sparse Jaccard distances, silhouettes and DBSCAN on them, against dense programs of others."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.cluster import DBSCAN
from sklearn.metrics import silhouette_samples

from reid_lightning.errors import InputError
from reid_lightning.retrieval import jaccard
from reid_lightning.retrieval.jaccard import (
    JaccardDistances,
    by_size,
    dbscan,
    silhouette,
    without_camera_means,
)
from reid_lightning.retrieval.k_reciprocal import KReciprocalRerank
from reid_lightning.retrieval.similarities import Similarities


def people(seed=0, count=12, images=8, size=16, noise=0.5):
    """Unit vectors of people, most of whom are separable."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(count, 1, size, generator=generator)
    vectors = centers + noise * torch.randn(count, images, size, generator=generator)
    return torch.nn.functional.normalize(vectors.flatten(0, 1))


def dense(vectors, k1, k2):
    """The same distances by re-ranking with weight 0, every pair of them."""
    pairs = Similarities.of(vectors, vectors, "cosine")
    compared = KReciprocalRerank(k1=k1, k2=k2, weight=0.0).among(pairs)
    parts = [compared.distances(rows, chunk.clone()) for rows, chunk in compared.chunks()]
    found = torch.cat(parts).double().clamp(0, 1).numpy()
    np.fill_diagonal(found, 0)
    return found


@pytest.mark.parametrize(("k1", "k2"), [(10, 3), (7, 1)])
def test_distances_are_those_of_re_ranking_alone(monkeypatch, k1, k2):
    vectors = people()
    monkeypatch.setattr(jaccard, "CELLS", 7 * len(vectors))  # several chunks
    expected = dense(vectors, k1, k2)
    found = JaccardDistances.of(vectors, k1, k2)
    together = np.concatenate([chunk for _, chunk in found.chunks()])
    np.testing.assert_allclose(together, expected, atol=1e-6)
    near = found.within(0.6)
    kept = near.toarray()
    stored = np.zeros_like(kept, bool)
    stored[np.repeat(np.arange(len(found)), np.diff(near.indptr)), near.indices] = True
    clear = np.abs(expected - 0.6) > 1e-6
    assert (stored == (expected <= 0.6))[clear].all()
    np.testing.assert_allclose(kept[stored], expected[stored], atol=1e-6)
    assert stored.diagonal().all()


@pytest.mark.parametrize("bound", [0.3, 0.5])
def test_dbscan_is_that_of_the_whole_matrix(bound):
    vectors = people(noise=0.8)
    expected = DBSCAN(eps=bound, min_samples=4, metric="precomputed").fit(dense(vectors, 10, 3)).labels_
    near = JaccardDistances.of(vectors, 10, 3).within(0.6)  # more than the bound asks for
    assert by_size(expected.astype(np.int64)).tolist() == dbscan(near, bound, 4).tolist()
    assert len(set(expected.tolist())) > 3


def test_a_point_counts_as_many_images_as_it_stands_for():
    near = sparse.csr_array(
        (np.zeros(96), (np.arange(96), np.arange(96))), shape=(96, 96)
    )  # nobody is near another
    weights = np.ones(96, np.int64)
    weights[[5, 40]] = 4
    groups = dbscan(near, 0.0, 4, weights)
    assert sorted(np.flatnonzero(groups >= 0).tolist()) == [5, 40]


def test_silhouette_is_that_of_the_whole_matrix_with_outliers_as_zero():
    vectors = people(noise=0.8)
    distances = JaccardDistances.of(vectors, 10, 3)
    groups = np.repeat(np.arange(12), 8)
    groups[:6] = -1
    groups = by_size(groups)
    inside = groups >= 0
    found = silhouette_samples(
        dense(vectors, 10, 3)[np.ix_(inside, inside)], groups[inside], metric="precomputed"
    )
    assert silhouette(distances, groups) == pytest.approx(found.sum() / 96, abs=1e-6)


def test_silhouette_of_a_sample_is_near_that_of_all_and_repeats():
    distances = JaccardDistances.of(people(count=40), 10, 3)
    groups = np.repeat(np.arange(40), 8)
    whole, sample = silhouette(distances, groups), silhouette(distances, groups, most=100)
    assert sample == silhouette(distances, groups, most=100)
    assert sample == pytest.approx(whole, abs=0.05)
    assert sample != whole


def test_silhouette_prefers_people_to_halves_and_to_pairs_of_them():
    distances = JaccardDistances.of(people(), 10, 3)
    truth = np.repeat(np.arange(12), 8)
    halves, pairs = np.repeat(np.arange(24), 4), np.repeat(np.arange(6), 16)
    scores = {name: silhouette(distances, groups) for name, groups in
              {"truth": truth, "halves": halves, "pairs": pairs, "one": truth * 0}.items()}  # fmt: skip
    assert max(scores, key=scores.get) == "truth"
    assert scores["one"] == 0


def test_cameras_are_centered():
    vectors, cameras = people(), torch.arange(96) % 3
    shifted = vectors + 0.7 * torch.eye(16)[cameras]
    centered = without_camera_means(shifted, cameras)
    for camera in range(3):
        assert centered[cameras == camera].mean(0).abs().max() < 0.1
    same = (cameras[:, None] == cameras) & ~torch.eye(96, dtype=bool)
    plain = torch.nn.functional.normalize(shifted)
    assert (plain @ plain.T)[same].mean() > (centered @ centered.T)[same].mean() + 0.2


def test_wrong_bounds_and_too_few_images_are_refused():
    with pytest.raises(ValueError, match=r"bound must be >= 0 and below 1, got 1"):
        JaccardDistances.of(people(), 10, 3).within(1.0)
    with pytest.raises(InputError, match=r"needs more than the 96 images"):
        JaccardDistances.of(people(), 100, 3)
