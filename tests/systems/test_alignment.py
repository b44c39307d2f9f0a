"""The alignment that a picture shows is the one that the distance is made of."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from reid_lightning.distances import aligned_distances, shortest_path
from reid_lightning.experiments.factory import build_datamodule, build_module
from reid_lightning.retrieval.evaluation import EvaluationRows
from reid_lightning.systems.stripes.alignment import AlignedPair, alignment_lines, alignment_path
from reid_lightning.systems.stripes.task import AlignedTask, stripe_costs
from reid_lightning.systems.task import Run


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_the_path_is_as_long_as_the_shortest_one_and_goes_right_or_down(size):
    costs = torch.rand(20, size, size, generator=torch.Generator().manual_seed(size))
    for matrix, length in zip(costs, shortest_path(costs), strict=True):
        path = alignment_path(matrix.double().numpy())
        assert path[0] == (0, 0)
        assert path[-1] == (size - 1, size - 1)
        assert all((b[0] - a[0], b[1] - a[1]) in ((0, 1), (1, 0)) for a, b in pairwise(path))
        assert sum(float(matrix[cell]) for cell in path) == pytest.approx(float(length), abs=1e-5)


def test_stripes_without_any_difference_are_aligned(tmp_path):
    pair = AlignedPair("right match", *[np.zeros((8, 4, 3), np.uint8)] * 2, np.zeros((3, 3)))
    assert len(alignment_path(pair.costs)) == 5
    alignment_lines([pair], tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 0


@pytest.fixture
def run(compose, tiny, tmp_path):
    """A run of AlignedReID whose network is untrained, its test ranked by colors."""
    config = compose(*tiny, "loss=[aligned]")
    datamodule = build_datamodule(config)
    datamodule.setup()
    module = build_module(config, datamodule.num_identities, datamodule.identity_labels, datamodule)
    assert [task.name for task in module.tasks] == ["identity", "aligned"]
    of = datamodule.annotations
    index = np.flatnonzero(datamodule.table["split"].isin(["query", "gallery"]))
    rows = EvaluationRows(
        datamodule.images_of(index.tolist()).float().mean(dim=(2, 3)),
        torch.tensor(of.person_ids[index]),
        torch.tensor(of.camera_ids[index]),
        index=torch.tensor(index),
        is_query=torch.tensor(of.is_query[index]),
    )
    return Run(config, tmp_path, module.network, datamodule, module.protocol, torch.device("cpu"), rows=rows)


def test_the_picture_tells_the_aligned_distances_of_its_pairs(run, monkeypatch):
    assert AlignedTask().figures(run, {}) == []  # nobody was ranked
    chosen = run.rows.index[:3].tolist()
    monkeypatch.setattr("reid_lightning.systems.stripes.task.typical_triple", lambda _: chosen)
    (picture,) = AlignedTask().figures(run, {})
    assert picture.path.stat().st_size > 0
    images = run.datamodule.images_of(chosen)
    with torch.no_grad():
        stripes = run.network.eval()(images).extra["stripes"]
    expected = aligned_distances(stripes[:1], stripes[1:])[0].tolist()
    assert f"{expected[0]:.2f} to the right match and {expected[1]:.2f} to the wrong one" in picture.caption
    assert [matrix.shape for matrix in stripe_costs(run, images)] == [(8, 8)] * 2
