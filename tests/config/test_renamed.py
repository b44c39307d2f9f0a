"""What earlier versions called otherwise is found under its name of today."""

import importlib

import pytest
from hydra.utils import get_object

from reid_lightning.config.renamed import _MODULES, _TARGETS, current_targets, with_reports
from reid_lightning.config.resolve import instantiate
from reid_lightning.experiments.checkpoint import completed
from reid_lightning.results.reports.embedding_map import EmbeddingMapReport
from reid_lightning.results.reports.open_set import OpenSetReport
from reid_lightning.retrieval.aligned import AlignedRerank
from reid_lightning.retrieval.k_reciprocal import KReciprocalRerank
from reid_lightning.retrieval.protocol import EvaluationProtocol

EARLIER = {
    "_target_": "reid_lightning.retrieval.protocol.EvaluationProtocol",
    "feature": "metric",
    "normalize": True,
    "metric": "euclidean",
    "camera_policy": "allow",
    "ranks": [1, 5],
    "flip": True,
    "tracklets": None,
    "single_shot": None,
    "single_shot_seed": 0,
    "aligned": None,
    "aligned_weight": 1.0,
    "k_reciprocal": None,
    "identification": None,
    "map": False,
}


@pytest.mark.parametrize(
    ("changed", "rerank"),
    [
        ({}, None),
        ({"k_reciprocal": [50, 15, 0.3]}, KReciprocalRerank(50, 15, 0.3)),
        ({"aligned": 100, "aligned_weight": 2.0}, AlignedRerank(100, 2.0)),
    ],
)
def test_an_earlier_evaluation_builds_the_same_protocol(changed, rerank):
    config = completed({"evaluation": EARLIER | changed})
    expected = EvaluationProtocol("before_neck", True, "euclidean", "allow", (1, 5), True, rerank=rerank)
    assert instantiate(config["evaluation"], "evaluation") == expected
    assert config["reports"] == {}


def test_what_is_no_part_of_the_scores_becomes_reports():
    config = with_reports({"evaluation": EARLIER | {"identification": 7, "map": True}})
    open_set, embedding_map = (instantiate(config["reports"][name]) for name in ("open_set", "embedding_map"))
    assert isinstance(open_set, OpenSetReport)
    assert open_set.nearest == 7
    assert isinstance(embedding_map, EmbeddingMapReport)


def test_the_arguments_of_another_class_are_its_own():
    evaluation = {"_target_": "torch.nn.Identity", "metric": "cosine", "map": True}
    assert with_reports({"evaluation": evaluation}) == {"evaluation": evaluation, "reports": {}}


def test_a_config_of_today_stays_as_it_is(compose):
    config = compose("evaluation/rerank=k_reciprocal", "report=[open_set,embedding_map]")
    assert with_reports(config) == config


@pytest.mark.parametrize("module", _MODULES.values())
def test_a_moved_module_is_where_the_table_says(module):
    assert importlib.import_module(module)


@pytest.mark.parametrize("target", _TARGETS.values())
def test_a_moved_class_is_where_the_table_says(target):
    assert get_object(target)


def test_no_earlier_name_is_still_a_module():
    """A name that exists again would be taken for the moved one."""
    for module in _MODULES:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(module)


def test_a_backbone_of_an_earlier_checkpoint_is_found():
    earlier = {"backbone": {"_target_": "reid_lightning.models.backbones.resnet10", "width": 0.5}}
    assert get_object(current_targets(earlier)["backbone"]["_target_"]).__name__ == "resnet10"
