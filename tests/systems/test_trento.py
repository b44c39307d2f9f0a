"""Trento's experiment: what it builds; what it composes to is in tests/golden/."""

import pytest

from reid_lightning.experiments.checks import check_run
from reid_lightning.experiments.factory import build_datamodule, build_module


def test_the_system_is_the_report(compose):
    config = compose("experiment=trento")
    check_run(config)
    module = build_module(config, num_identities=7)
    network = module.network
    assert network.backbone.out_channels == 2048
    layers = network.neck.layers
    assert [type(layer).__name__ for layer in layers] == ["Linear", "BatchNorm1d", "ReLU"]
    assert (layers[0].in_features, layers[0].out_features) == (2048, 512)
    assert (network.attributes.heads.in_features, network.attributes.heads.out_features) == (512, 41)
    assert (network.attributes.confidence.in_features, network.attributes.confidence.out_features) == (41, 41)
    assert network.classifier.weight.shape == (7, 512 + 41)
    assert module.objective.tasks["identity"].label_smoothing == 0
    assert module.objective.terms == ["identity", "attributes"]
    assert (module.protocol.feature, module.protocol.normalize) == ("embedding", False)
    assert module.protocol.distance == "sqeuclidean"


@pytest.mark.parametrize(
    ("task", "heads", "reweighted", "classifier"),
    [
        ("identity", False, False, True),
        ("attributes", True, False, False),
        ("both", True, False, True),
        ("reweighted", True, True, True),
    ],
)
def test_every_task_of_the_table_is_what_its_name_says(compose, task, heads, reweighted, classifier):
    config = compose("experiment=trento/table", f"experiment/trento/task={task}")
    check_run(config)
    network = build_module(config, num_identities=7).network
    assert (network.attributes is not None) == heads
    assert (network.classifier is not None) == classifier
    if classifier:
        assert network.classifier.weight.shape == (7, 512 + 41 * reweighted)


OWN = (
    "attributes=market12",
    "attributes.schema._target_=reid_lightning.data.attributes.attribute_schema",
    "+attributes.schema.name=own",
    "+attributes.schema.attributes={glasses: ['no', 'yes'], coat: [none, short, long]}",
)


@pytest.mark.parametrize(
    "choices",
    [
        ("neck=bnneck", "loss=[triplet,center]", "classifier=arcface"),
        ("neck=linear", "loss=quadruplet", "miner=none", "classifier=sphereface"),
        ("neck=none", "pooling=gem", "loss=none", "miner=none", "classifier=large_margin_softmax"),
        ("backbone=osnet_x0_25", "loss=circle", "classifier=none", "attributes.heads.reweighting=false"),
    ],
)
def test_an_own_schema_joins_any_other_choice(compose, choices):
    config = compose(*OWN, *choices)
    check_run(config)
    assert build_datamodule(config).attributes.names == ("glasses", "coat")
    network = build_module(config, num_identities=7).network
    assert network.attributes.heads.out_features == 5
