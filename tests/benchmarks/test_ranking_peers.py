"""The programs that the ranking is measured beside do the same work."""

import sys
from pathlib import Path

import pytest
import torch
from sides import sides

from reid_lightning.retrieval.ranking import rank

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ranking_peers


@pytest.fixture
def problem():
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(120, 8))
    ids, cameras = torch.arange(120) % 7, torch.randint(3, (120,))
    return vectors[:20], vectors[20:], ids[:20], ids[20:], cameras[:20], cameras[20:]


@pytest.mark.parametrize("name", sorted(set(ranking_peers.peers()) - {"metric learning"}))
def test_peers_find_the_same_mean_ap(problem, name):
    assert ranking_peers.peers()[name](*problem) == pytest.approx(rank(*sides(*problem)).mean_ap, abs=1e-6)


def test_metric_learning_finds_the_same_without_cameras(problem):
    pytest.importorskip("pytorch_metric_learning")
    program = ranking_peers.peers()["metric learning"]
    expected = rank(*sides(*problem), camera_policy="allow").mean_ap
    assert program(*problem) == pytest.approx(expected, abs=1e-6)
