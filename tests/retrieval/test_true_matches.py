import numpy as np
import pytest
import torch

from reid_lightning.retrieval.evaluation import EvaluationRows, rank_rows, true_match_rows
from reid_lightning.retrieval.k_reciprocal import KReciprocalRerank
from reid_lightning.retrieval.protocol import EvaluationProtocol


def some_rows(seed, count=60, people=7, cameras=3):
    generator = torch.Generator().manual_seed(seed)
    return EvaluationRows(
        torch.nn.functional.normalize(torch.randn(count, 8, generator=generator)),
        torch.randint(-1, people, (count,), generator=generator),
        torch.randint(-1, cameras, (count,), generator=generator),
        index=torch.arange(count),
        is_query=torch.arange(count) < 15,
    )


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_ranks_are_those_of_a_sorted_list(distance):
    rows = some_rows(0)
    found = true_match_rows(rows, EvaluationProtocol(distance=distance))
    query, gallery = rows.query, rows.gallery
    expected = []
    for row in range(len(query)):
        gaps = (
            1 - gallery.vectors @ query.vectors[row]
            if distance == "cosine"
            else (gallery.vectors - query.vectors[row]).norm(dim=1)
        )
        same = gallery.person_ids == query.person_ids[row]
        junk = same & (gallery.camera_ids == query.camera_ids[row]) & (query.camera_ids[row] >= 0)
        order = [int(column) for column in gaps.argsort() if not junk[column]]
        for rank, column in enumerate(order, start=1):
            if same[column]:
                expected.append((row, column, rank, float(gaps[column])))
    assert [tuple(map(int, line)) for line in zip(*found[:3], strict=True)] == [line[:3] for line in expected]
    np.testing.assert_allclose(found.distance, [line[3] for line in expected], atol=2e-6)


@pytest.mark.parametrize("rerank", [None, KReciprocalRerank(k1=6, k2=2)])
def test_scores_follow_from_the_ranks(rerank):
    rows, protocol = some_rows(1), EvaluationProtocol(rerank=rerank)
    found, ranking = true_match_rows(rows, protocol), rank_rows(rows, protocol)
    for query in range(len(rows.query)):
        ranks = found.rank[found.query == query]
        assert len(ranks) == ranking.num_matches[query]
        if len(ranks):
            precision = np.mean(np.arange(1, len(ranks) + 1) / ranks)
            assert ranking.average_precision[query] == pytest.approx(precision)
            assert ranking.first_match_rank[query] == ranks[0]
