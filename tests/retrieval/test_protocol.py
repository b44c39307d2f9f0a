from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from reid_lightning.retrieval.protocol import EvaluationProtocol

CONF = Path(__file__).parents[2] / "conf"


def shipped(*choices, **data):
    suits = {"tracklets": None, "single_shot": None} | data
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+{choice}" for choice in choices])
    OmegaConf.set_struct(config, False)
    config.data = suits
    return instantiate(config.evaluation)


def test_shipped_conventions():
    assert shipped("evaluation=default") == EvaluationProtocol()
    assert shipped("evaluation=torchreid") == EvaluationProtocol("before_neck", False, "sqeuclidean")
    assert shipped("evaluation=transreid") == EvaluationProtocol("before_neck", True, "euclidean")
    for name in ("default", "torchreid", "transreid"):
        protocol = shipped(f"evaluation={name}", tracklets="pool", single_shot=10)
        assert (protocol.tracklets, protocol.single_shot) == ("pool", 10)


def test_description_tells_every_choice_apart():
    variants = [
        EvaluationProtocol(),
        EvaluationProtocol(feature="before_neck"),
        EvaluationProtocol(normalize=False),
        EvaluationProtocol(distance="euclidean"),
        EvaluationProtocol(camera_policy="allow"),
        EvaluationProtocol(flip=True),
        EvaluationProtocol(scales=[1.0, 1.25]),
        EvaluationProtocol(scales=[1.25]),
        EvaluationProtocol(camera_statistics=64),
        EvaluationProtocol(camera_statistics=1024),
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
        ({"feature": "local"}, "^feature must be one of embedding, before_neck, .*, got local"),
        ({"distance": "l1"}, "^distance must be one of .*, got l1"),
        ({"camera_policy": "drop"}, "^camera_policy must be one of exclude_same_camera, allow, got drop"),
        ({"normalize": "yes"}, "^normalize must be one of True, False, got yes"),
        ({"flip": None}, "^flip must be one of True, False, got None"),
        ({"scales": []}, r"^scales must be a list of different numbers from 0.25 to 4, .*, got \[\]"),
        ({"scales": [1.0, 1]}, "^scales must be a list of different"),
        ({"scales": [0.1]}, "^scales must be a list"),
        ({"scales": ["1"]}, "^scales must be a list"),
        ({"camera_statistics": 1}, "^camera_statistics must be a number of images >= 2, .*, got 1"),
        ({"camera_statistics": True}, "^camera_statistics must be a number of images"),
        ({"map_at": [0]}, r"^map_at must be a list of different whole numbers >= 1, .*, got \[0\]"),
        ({"map_at": [5, 5]}, "^map_at must be a list"),
        ({"map_at": [5], "single_shot": 10}, "^map_at must be empty with single_shot"),
        ({"ranks": []}, r"^ranks must be a list of whole numbers >= 1, .*, got \[\]"),
        ({"ranks": [0, 5]}, r"^ranks must be .* got \[0, 5\]"),
        ({"ranks": [1.5]}, r"^ranks must be .* got \[1.5\]"),
        ({"tracklets": "mean"}, "^tracklets must be one of pool, None, got mean"),
        ({"single_shot": 0}, "^single_shot must be a number of draws >= 1, or null .*, got 0"),
        ({"single_shot": True}, "^single_shot must be .*, got True"),
    ],
)
def test_wrong_values_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        EvaluationProtocol(**wrong)
