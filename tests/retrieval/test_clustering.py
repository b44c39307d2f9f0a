"""Clusters against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.cluster import DBSCAN, AgglomerativeClustering
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import pair_confusion_matrix

from reid_lightning.distances import pairwise_distances
from reid_lightning.errors import InputError
from reid_lightning.retrieval import clustering
from reid_lightning.retrieval.clustering import cluster, cluster_scores
from reid_lightning.retrieval.k_reciprocal import KReciprocalRerank
from reid_lightning.retrieval.similarities import Similarities


def people(count=20, images=8, seed=0, spread=0.6):
    draw = torch.Generator().manual_seed(seed)
    who = torch.randperm(count * images, generator=draw) % count
    vectors = torch.randn(count, 12, generator=draw)[who] + spread * torch.randn(len(who), 12, generator=draw)
    return vectors, who.numpy()


def same_partition(one, other):
    return np.array_equal(one, clustering.by_size(np.asarray(other)))


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize("threshold", [0.3, 1.0, 3.0])
def test_average_linkage_is_that_of_scikit_learn(distance, threshold):
    vectors, _ = people()
    far = pairwise_distances(vectors, distance=distance).double().numpy()
    np.fill_diagonal(far, 0)
    oracle = AgglomerativeClustering(
        None, metric="precomputed", linkage="average", distance_threshold=threshold * (1 + 1e-9)
    )
    assert same_partition(
        cluster(vectors, threshold, distance=distance), oracle.fit_predict((far + far.T) / 2)
    )


@pytest.mark.parametrize("least", [1, 2, 4])
def test_dbscan_is_that_of_scikit_learn(least):
    vectors, _ = people()
    found = cluster(vectors, 2.3, distance="euclidean", method="dbscan", least=least)
    labels = DBSCAN(eps=2.3, min_samples=least).fit_predict(vectors.double().numpy())
    labels = np.where(labels < 0, 1000 + np.arange(len(labels)), labels)  # alone
    assert same_partition(found, labels)
    assert 1 < found.max() + 1 < len(found)


@pytest.mark.parametrize("method", ["agglomerative", "dbscan"])
def test_neighbourhoods_separate_what_distances_do_not(method):
    vectors, who = people(count=12, images=20, spread=1.1)
    rerank = KReciprocalRerank(k1=10, k2=3, weight=0.0)
    plain = max(
        cluster_scores(cluster(vectors, t, method=method), who)["f"] for t in np.linspace(0.1, 0.9, 9)
    )
    ranked = max(
        cluster_scores(cluster(vectors, t, method=method, rerank=rerank), who)["f"]
        for t in np.linspace(0.1, 0.9, 9)
    )
    assert ranked > plain


def test_neighbourhoods_among_images_are_those_of_a_reranking_of_queries_on_a_gallery():
    vectors, _ = people()
    rerank = KReciprocalRerank(k1=6, k2=2, weight=0.3)
    among = rerank.among(Similarities.of(vectors, vectors, "cosine"))
    ((_, found),) = [(rows, chunk.clone()) for rows, chunk in among.chunks()]
    split = rerank.apply(Similarities.of(vectors[:50], vectors[50:], "cosine"))
    ((_, wanted),) = [(rows, chunk.clone()) for rows, chunk in split.chunks()]
    torch.testing.assert_close(found[:50, 50:], wanted, rtol=0, atol=1e-5)


def test_scores_are_those_of_scikit_learn():
    draw = np.random.default_rng(0)
    groups, truth = draw.integers(0, 9, 300), draw.integers(0, 7, 300)
    groups[:200] = truth[:200]
    (_, wrong), (missed, right) = pair_confusion_matrix(truth, groups)
    found = cluster_scores(groups, truth)
    assert found["precision"] == pytest.approx(right / (right + wrong))
    assert found["recall"] == pytest.approx(right / (right + missed))
    assert found["f"] == pytest.approx(2 * right / (2 * right + wrong + missed))
    assert found["nmi"] == pytest.approx(normalized_mutual_info_score(truth, groups))
    assert (found["groups"], found["people"]) == (9, 7)
    alone = cluster_scores(np.arange(4), [1, 1, 2, 2])
    assert (alone["precision"], alone["recall"], alone["f"]) == (1, 0, 0)
    with pytest.raises(InputError, match="do not fit"):
        cluster_scores([1], [1, 2])


def test_groups_are_numbered_by_size():
    vectors = torch.tensor([[9.0], [0.0], [5.0], [0.1], [5.1], [5.2], [20.0]])
    for method in ("agglomerative", "dbscan"):
        found = cluster(vectors, 0.5, distance="euclidean", method=method, least=2)
        assert found.tolist() == [2, 1, 0, 1, 0, 0, 3]
    assert cluster(vectors[:1], 0.5).tolist() == [0]


def test_what_cannot_be_clustered_is_refused(monkeypatch):
    vectors, _ = people()
    with pytest.raises(ValueError, match="method must be one of agglomerative, dbscan, got kmeans"):
        cluster(vectors, 0.5, method="kmeans")
    with pytest.raises(ValueError, match=r"threshold must be >= 0, got -0\.5"):
        cluster(vectors, -0.5)
    with pytest.raises(InputError, match=r"needs more than the 160 images"):
        cluster(vectors, 0.5, rerank=KReciprocalRerank(k1=200))
    monkeypatch.setattr(clustering, "MOST_IMAGES", 100)
    with pytest.raises(InputError, match=r"160 images are more than 100: cluster by dbscan"):
        cluster(vectors, 0.5)
