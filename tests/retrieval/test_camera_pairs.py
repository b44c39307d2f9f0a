"""Scores of camera pairs, by hand and by ranking each pair alone."""

import pytest
import torch

from reid_lightning.retrieval.camera_pairs import camera_pairs
from reid_lightning.retrieval.evaluation import EvaluationRows
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.retrieval.ranking import rank


def on_a_line(places, people, cameras, queries):
    return EvaluationRows(
        torch.tensor(places)[:, None],
        torch.tensor(people),
        torch.tensor(cameras),
        index=torch.arange(len(places)),
        is_query=torch.arange(len(places)) < queries,
    )


LINE = EvaluationProtocol(distance="euclidean", normalize=False)


def test_a_case_by_hand():
    """Two queries of camera 0 at 0.0; camera 1 shows 5, 6, 5 at 1, 2, 3, and camera 2 shows 6, 5 at 1, 2."""
    rows = on_a_line(
        [0.0, 0.0, 1.0, 2.0, 3.0, 1.1, 2.1], [5, 6, 5, 6, 5, 6, 5], [0, 0, 1, 1, 1, 2, 2], queries=2
    )
    found = camera_pairs(rows, LINE)
    assert found is not None
    assert found.cameras == (1, 2)
    # person 5 among camera 1: ranks 1 and 3, AP (1/1 + 2/3) / 2; person 6: rank 2, AP 1/2. Camera 2: ranks 2 and 1.
    assert found.average_precision.tolist() == [[pytest.approx(5 / 6), 0.5], [0.5, 1.0]]
    one, two = found.pairs
    assert (one.query_camera, one.gallery_camera, one.queries) == (0, 1, 2)
    assert (one.mean_ap, one.rank1) == (pytest.approx((5 / 6 + 1 / 2) / 2), 0.5)
    assert (two.mean_ap, two.rank1) == (0.75, 0.5)
    assert one.interval is not None


def test_each_pair_is_a_ranking_of_its_own():
    generator = torch.Generator().manual_seed(3)
    count = 80
    rows = EvaluationRows(
        torch.nn.functional.normalize(torch.randn(count, 6, generator=generator)),
        torch.randint(0, 6, (count,), generator=generator),
        torch.randint(0, 3, (count,), generator=generator),
        index=torch.arange(count),
        is_query=torch.arange(count) < 20,
    )
    found = camera_pairs(rows, EvaluationProtocol())
    assert found is not None
    assert len(found.pairs) == 6  # of one camera twice every true match is excluded
    for pair in found.pairs:
        query = rows.select(rows.is_query & (rows.camera_ids == pair.query_camera))
        gallery = rows.select(~rows.is_query & (rows.camera_ids == pair.gallery_camera))
        alone = rank(query, gallery)
        assert pair.mean_ap == pytest.approx(alone.mean_ap)
        assert pair.rank1 == pytest.approx(alone.cmc(1))
        assert pair.queries == len(query) - alone.queries_without_match


def test_unknown_cameras_or_people_have_no_pairs():
    assert camera_pairs(on_a_line([0.0, 1.0], [1, 1], [-1, -1], 1), LINE) is None
    assert camera_pairs(on_a_line([0.0, 1.0], [-1, -1], [0, 1], 1), LINE) is None
