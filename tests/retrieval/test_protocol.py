from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from reid_lightning.errors import InputError
from reid_lightning.retrieval.protocol import EvaluationProtocol

CONF = Path(__file__).parents[2] / "conf" / "evaluation"


def shipped(name, **data):
    suits = {"tracklets": None, "single_shot": None} | data
    config = OmegaConf.create({"evaluation": OmegaConf.load(CONF / f"{name}.yaml"), "data": suits})
    return instantiate(config.evaluation)


def test_shipped_conventions():
    assert shipped("default") == EvaluationProtocol()
    assert shipped("torchreid") == EvaluationProtocol("before_neck", False, "sqeuclidean")
    assert shipped("transreid") == EvaluationProtocol("before_neck", True, "euclidean")
    for name in ("default", "torchreid", "transreid"):
        protocol = shipped(name, tracklets="pool", single_shot=10)
        assert (protocol.tracklets, protocol.single_shot) == ("pool", 10)


def test_description_tells_every_choice_apart():
    variants = [
        EvaluationProtocol(),
        EvaluationProtocol(feature="before_neck"),
        EvaluationProtocol(normalize=False),
        EvaluationProtocol(metric="euclidean"),
        EvaluationProtocol(camera_policy="allow"),
        EvaluationProtocol(flip=True),
        EvaluationProtocol(tracklets="pool"),
        EvaluationProtocol(single_shot=1),
        EvaluationProtocol(single_shot=10),
        EvaluationProtocol(single_shot=10, single_shot_seed=1),
    ]
    assert len({variant.describe() for variant in variants}) == len(variants)
    assert all("\n" not in variant.describe() for variant in variants)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"feature": "local"}, r"evaluation.feature=local is unknown; choose one of embedding, before_neck"),
        ({"metric": "l1"}, r"evaluation.metric=l1"),
        ({"camera_policy": "drop"}, r"exclude_same_camera, allow"),
        ({"normalize": "yes"}, r"evaluation.normalize=yes"),
        ({"flip": None}, r"evaluation.flip=None"),
        ({"ranks": []}, r"evaluation.ranks=\[\]"),
        ({"ranks": [0, 5]}, r"evaluation.ranks=\[0, 5\]"),
        ({"ranks": [1.5]}, r"whole numbers"),
        ({"tracklets": "mean"}, r"evaluation.tracklets=mean is unknown; choose one of pool, None"),
        ({"single_shot": 0}, r"evaluation.single_shot=0 must be a number of draws from 1 on, or null"),
        ({"single_shot": True}, r"evaluation.single_shot=True"),
        (
            {"identification": 0},
            r"evaluation.identification=0 must be a number of images that vote from 1 on, or null",
        ),
        ({"map": "yes"}, r"evaluation.map=yes is unknown; choose one of True, False"),
        ({"k_reciprocal": 20}, r"evaluation.k_reciprocal=20 must be \[k1,k2,weight\]"),
        ({"k_reciprocal": [20, 6, "much"]}, r"evaluation.k_reciprocal=\[20, 6, 'much'\] must be"),
    ],
)
def test_wrong_values_are_named(wrong, message):
    with pytest.raises(InputError, match=message):
        EvaluationProtocol(**wrong)
