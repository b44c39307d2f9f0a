"""Queries made of several images, against loops."""

import numpy as np
import pytest
import torch

from reid_lightning.retrieval.expansion import expanded_queries, multi_query
from reid_lightning.retrieval.matches import Matches, Side
from reid_lightning.retrieval.ranking import rank


def sides(spread=1.0, people=30, images=8, seed=0):
    draw = torch.Generator().manual_seed(seed)
    who = torch.arange(people).repeat_interleave(images)
    vectors = torch.randn(people, 8, generator=draw)[who] + spread * torch.randn(len(who), 8, generator=draw)
    rows = Side(vectors, who, torch.arange(len(who)) % 4)
    is_query = torch.arange(len(who)) % images == 0
    return rows.select(is_query), rows.select(~is_query)


@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_expansion_is_that_of_a_loop(alpha):
    query, gallery = sides()
    matches = Matches.of(query, gallery)
    found = expanded_queries(query.vectors, gallery.vectors, k=4, alpha=alpha, matches=matches)
    q, g = (side.vectors.double().numpy() for side in (query, gallery))
    q, g = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (q, g))
    for row in range(len(q)):
        similar = g @ q[row]
        left_out = (
            (gallery.person_ids == query.person_ids[row]) & (gallery.camera_ids == query.camera_ids[row])
        ).numpy()
        assert left_out.any()
        best = np.argsort(-np.where(left_out, -2, similar))[:4]
        weights = np.maximum(similar[best], 0) ** alpha
        wanted = q[row] + weights @ g[best]
        np.testing.assert_allclose(found[row], wanted / np.linalg.norm(wanted), atol=1e-5)


def test_euclidean_expansion_is_the_mean():
    query, gallery = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 0.0], [0.0, 3.0], [50.0, 50.0]])
    found = expanded_queries(query, gallery, k=2, distance="euclidean")
    assert found.tolist() == [[1.0, 1.0]]
    assert torch.equal(expanded_queries(query, gallery, k=0, distance="euclidean"), query)
    for wrong in ({"k": -1}, {"alpha": -1.0}):
        with pytest.raises(ValueError, match="must be >= 0, got -1"):
            expanded_queries(query, gallery, **wrong)


def test_expansion_and_several_queries_find_more():
    query, gallery = sides(spread=0.9)
    plain = rank(query, gallery).mean_ap
    more = expanded_queries(
        query.vectors, gallery.vectors, k=3, alpha=3.0, matches=Matches.of(query, gallery)
    )
    assert rank(Side(more, query.person_ids, query.camera_ids), gallery).mean_ap > plain
    both = Side(
        torch.cat([query.vectors, gallery.vectors[::7]]),
        torch.cat([query.person_ids, gallery.person_ids[::7]]),
    )
    vectors, first = multi_query(both.vectors, both.person_ids)
    kept = gallery.select(torch.arange(len(gallery)) % 7 != 0)
    assert torch.equal(both.person_ids[first], torch.arange(30))
    several = Side(vectors, both.person_ids[first])
    single = Side(query.vectors, query.person_ids)
    assert rank(several, kept).mean_ap > rank(single, kept).mean_ap


def test_several_queries_are_their_mean():
    query, _ = sides()
    groups = torch.tensor([5, 1, 5] * 10)
    found, first = multi_query(query.vectors, groups, "euclidean")
    torch.testing.assert_close(found[0], query.vectors[groups == 1].mean(dim=0))
    torch.testing.assert_close(found[1], query.vectors[groups == 5].mean(dim=0))
    assert first.tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"groups must be \(30,\), one for each query, got \(3,\)"):
        multi_query(query.vectors, groups[:3])
