"""Sparse re-ranking against the published program on dense matrices."""

import numpy as np
import pytest
import torch
from sides import sides

from reid_lightning.errors import InputError
from reid_lightning.retrieval.k_reciprocal import KReciprocalRerank
from reid_lightning.retrieval.matches import Matches
from reid_lightning.retrieval.neighbours import nearest_pairs
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.retrieval.ranking import rank, rank_pairs
from reid_lightning.retrieval.similarities import Similarities

QUERIES, IMAGES = 24, 120


def dense(query, gallery, k1, k2, weight):
    """Zhong et al.'s algorithm image by image, on N x N matrices."""
    images = torch.cat([query, gallery]).numpy()
    squares = ((images[:, None] - images[None]) ** 2).sum(-1)
    scaled = squares / squares.max(axis=1, keepdims=True)
    order = np.argsort(scaled, axis=1, kind="stable")

    def mutual(image, size):
        forward = order[image, : size + 1]
        return {other for other in forward.tolist() if image in order[other, : size + 1]}

    weights = np.zeros_like(scaled)
    for image in range(len(images)):
        members = mutual(image, k1)
        expanded = set(members)
        for member in members:
            half = mutual(member, round(k1 / 2))
            if len(half & members) > 2 / 3 * len(half):
                expanded |= half
        columns = sorted(expanded)
        weights[image, columns] = np.exp(-scaled[image, columns])
    weights /= weights.sum(axis=1, keepdims=True)
    weights = np.stack([weights[order[image, :k2]].mean(axis=0) for image in range(len(images))])
    shared = np.minimum(weights[: len(query), None], weights[None, len(query) :]).sum(-1)
    jaccard = 1 - shared / (2 - shared)
    return (1 - weight) * jaccard + weight * scaled[: len(query), len(query) :]


def people(seed, dtype=torch.float64, normalize=True):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 12, (IMAGES,), generator=generator)
    centers = torch.randn(12, 12, generator=generator, dtype=dtype)
    vectors = centers[ids] + 0.7 * torch.randn(IMAGES, 12, generator=generator, dtype=dtype)
    vectors = torch.nn.functional.normalize(vectors) if normalize else vectors
    return vectors[:QUERIES], vectors[QUERIES:], ids[:QUERIES], ids[QUERIES:]


def reranked(query, gallery, *settings, distance="cosine"):
    return KReciprocalRerank(*settings).apply(Similarities.of(query, gallery, distance))


def together(found, chunk_size=None):
    return torch.cat([-chunk for _, chunk in found.chunks(chunk_size)]).numpy()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "settings", [(20, 6, 0.3), (50, 15, 0.3), (7, 1, 0.0), (5, 3, 1.0), (1, 1, 0.5)], ids=str
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)], ids=str)
def test_distances_are_those_of_the_published_program(seed, settings, dtype, tolerance):
    query, gallery, *_ = people(seed, dtype)
    found = reranked(query, gallery, *settings)
    np.testing.assert_allclose(together(found), dense(query, gallery, *settings), atol=tolerance)
    np.testing.assert_allclose(together(found, chunk_size=7), together(found), atol=1e-6)


def test_euclidean_distances_of_vectors_of_any_length():
    query, gallery, *_ = people(0, normalize=False)
    found = reranked(query, gallery, 10, 4, 0.3, distance="euclidean")
    np.testing.assert_allclose(together(found), dense(query, gallery, 10, 4, 0.3), atol=1e-6)


def test_scores_lists_and_single_queries_follow_these_distances():
    query, gallery, query_ids, gallery_ids = people(1)
    found, both = reranked(query, gallery), sides(query, gallery, query_ids, gallery_ids)
    matches = Matches.of(*both, "allow")
    ranking, expected = rank_pairs(found, matches), together(found)
    lists = nearest_pairs(found, 5, matches)
    for row in range(QUERIES):
        order = expected[row].argsort(kind="stable")
        hits = np.flatnonzero(gallery_ids.numpy()[order] == query_ids[row].item()) + 1
        precision = np.mean(np.arange(1, len(hits) + 1) / hits)
        assert ranking.average_precision[row].item() == pytest.approx(precision)
        np.testing.assert_allclose(lists.distances[row], np.sort(expected[row])[:5])
    some = torch.tensor([7, 3, 21])
    np.testing.assert_allclose(together(found.of_queries(some)), expected[some], atol=1e-6)
    assert (
        ranking.mean_ap > rank(*sides(query, gallery, query_ids, gallery_ids), camera_policy="allow").mean_ap
    )


def test_six_equal_images_are_at_distance_0():
    vectors = torch.nn.functional.normalize(torch.randn(6, 4)).repeat_interleave(5, 0)
    found = together(reranked(vectors[::5], vectors, 5, 2, 0.0))
    np.testing.assert_allclose(found[:, ::5].diagonal(), 0, atol=1e-6)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k1": 0}, "^k1 must be a whole number >= 1, got 0"),
        ({"k1": 20.0}, "^k1 must be a whole number >= 1, got 20.0"),
        ({"k2": 0}, "^k2 must be a whole number >= 1, got 0"),
        ({"k2": 22}, r"^k2 must be <= k1 \+ 1 = 21, got 22"),
        ({"weight": 1.5}, "^weight must be between 0 and 1, got 1.5"),
        ({"weight": "much"}, "^weight must be between 0 and 1, got much"),
        ({"weight": float("nan")}, "^weight must be between 0 and 1, got nan"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        KReciprocalRerank(**settings)


def test_too_few_images_are_refused():
    with pytest.raises(InputError, match="k1=20 reciprocal neighbors needs more than the 3 images"):
        reranked(torch.randn(1, 2), torch.randn(2, 2))


def test_the_protocol_names_it_and_refuses_it_beside_draws():
    protocol = EvaluationProtocol(rerank=KReciprocalRerank(50, 15, 0.3))
    assert "re-ranked by k-reciprocal neighbours (50/15/0.3)" in protocol.describe()
    assert protocol.reads == ("embedding",)
    with pytest.raises(ValueError, match=r"^single_shot=3 draws galleries that a re-ranking does not see"):
        EvaluationProtocol(rerank=KReciprocalRerank(), single_shot=3)
    EvaluationProtocol(rerank=KReciprocalRerank(), tracklets="pool")
