"""Batch normalization by the statistics of each camera."""

import pandas as pd
import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from reid_lightning.engine.module import ReIDModule
from reid_lightning.errors import InputError
from reid_lightning.experiments.checks import check_data
from reid_lightning.experiments.factory import build_datamodule
from reid_lightning.models import camera_statistics
from reid_lightning.models.camera_statistics import CameraStatistics
from reid_lightning.models.convolutional_backbones import resnet10
from reid_lightning.models.necks import NoNeck
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.models.timm_backbone import TimmBackbone
from reid_lightning.retrieval.protocol import EvaluationProtocol


def trained(backbone):
    """A network whose batch normalizations have seen images."""
    torch.manual_seed(0)
    network = ReIDNetwork(backbone, classifier=None).train()
    for _ in range(5):
        network(torch.rand(8, 3, 64, 32))
    return network.eval()


@pytest.fixture(
    params=[resnet10, lambda: TimmBackbone("test_efficientnet", None, image_size=(64, 32))],
    ids=["resnet", "timm"],  # whose layers activate as well
)
def network(request):
    return trained(request.param())


def images(seed, count=6, contrast=0.3, light=0.2):
    return contrast * torch.rand(count, 3, 64, 32, generator=torch.Generator().manual_seed(seed)) + light


def of_batch(network, batch):
    """What a network gives whose layers normalize by the batch that passes, by torch itself."""
    layers = [layer for layer in network.modules() if isinstance(layer, BatchNorm)]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for layer in layers:
        layer.train()
    found = network(batch).embedding
    network.eval().load_state_dict(before)
    return found


@torch.no_grad()
def test_each_camera_is_normalized_by_its_own_images_as_torch_does(network, monkeypatch):
    monkeypatch.setattr(camera_statistics, "PRIOR", 0)
    dark, light = images(1), images(2, contrast=0.6, light=0.4)
    wanted = of_batch(network, dark), of_batch(network, light)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    statistics = CameraStatistics.measure(network, {3: [dark], 8: [light]})
    mixed = torch.stack([dark, light], dim=1).flatten(0, 1)
    plain = network(mixed).embedding
    with statistics.applied(torch.tensor([3, 8] * 6)):
        found = network(mixed).embedding
    torch.testing.assert_close(found[::2], wanted[0], atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(found[1::2], wanted[1], atol=2e-4, rtol=1e-4)
    assert torch.equal(network(mixed).embedding, plain)  # nothing stays behind
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not network.training


@torch.no_grad()
def test_a_camera_that_was_not_measured_is_normalized_as_in_the_training(network):
    statistics = CameraStatistics.measure(network, {3: [images(1)]})
    batch = images(2)
    plain = network(batch).embedding
    with statistics.applied(torch.tensor([-1, 2, 4, 3, -1, 9])):
        found = network(batch).embedding
    others = torch.tensor([0, 1, 2, 4, 5])
    torch.testing.assert_close(found[others], plain[others])
    assert not torch.allclose(found[3], plain[3], atol=1e-2)


@torch.no_grad()
def test_a_compiled_network_gives_the_same():
    network, batch = trained(resnet10()), images(2)
    wanted = CameraStatistics.measure(network, {3: [images(1)]})
    cameras = torch.full((6,), 3)
    with wanted.applied(cameras):
        expected = network(batch).embedding
    network.compile(backend="eager")
    network(batch)
    found = CameraStatistics.measure(network, {3: [images(1)]})
    with found.applied(cameras):
        torch.testing.assert_close(network(batch).embedding, expected)


@torch.no_grad()
def test_several_batches_count_by_their_images_beside_those_of_the_training():
    layer = torch.nn.BatchNorm1d(4)
    layer.running_mean.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    layer.running_var.copy_(torch.tensor([1.0, 2.0, 0.5, 4.0]))
    network = torch.nn.Sequential(layer).eval()
    x = 2 * torch.randn(48, 4) + 1
    statistics = CameraStatistics.measure(network, {0: [x[:32], x[32:]]})
    share = 48 / (48 + camera_statistics.PRIOR)
    mean = share * x.mean(0) + (1 - share) * layer.running_mean
    variance = share * x.var(0, unbiased=False) + (1 - share) * layer.running_var
    with statistics.applied(torch.zeros(48, dtype=torch.int64)):
        found = network(x)
    torch.testing.assert_close(found, (x - mean) / (variance + layer.eps).sqrt())


@torch.no_grad()
def test_views_of_another_size_pass_and_a_layer_of_other_parts_stays_as_it_is():
    class Halves(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(2)

        def forward(self, x):
            return self.norm(x.reshape(-1, 2))

    network, x = Halves().eval(), torch.rand(3, 4)
    statistics = CameraStatistics.measure(network, {0: [x]})
    with statistics.applied(torch.zeros(3, dtype=torch.int64)):
        assert torch.equal(network(x), network.norm(x.reshape(-1, 2)))
    net = trained(resnet10())
    statistics = CameraStatistics.measure(net, {0: [images(1)]})
    with statistics.applied(torch.zeros(2, dtype=torch.int64)):
        assert net(torch.rand(2, 3, 96, 48)).embedding.isfinite().all()


def test_a_network_without_batch_normalization_and_a_set_without_cameras_are_refused():
    with pytest.raises(InputError, match="camera statistics need batch normalization, and this network has"):
        CameraStatistics.measure(torch.nn.Linear(2, 2), {0: [torch.rand(3, 2)]})
    with pytest.raises(InputError, match="need images of known cameras, and there are none"):
        CameraStatistics.measure(torch.nn.BatchNorm1d(2), {})


def test_a_module_says_at_once_that_its_network_has_no_batch_normalization():
    network = ReIDNetwork(TimmBackbone("test_vit", None, image_size=(32, 16)), neck=NoNeck, classifier=None)
    with pytest.raises(InputError, match="this network has none; leave camera_statistics out"):
        ReIDModule(network, protocol=EvaluationProtocol(camera_statistics=64))


def test_data_without_cameras_are_refused_before_they_are_decoded(compose, tmp_path):
    places = [
        f"{split}_{person}_{shot}.png"
        for split in ("query", "gallery")
        for person in (1, 2)
        for shot in (1, 2)
    ]
    rows = [
        {"path": place, "person_id": place.split("_")[1], "split": place.split("_")[0]} for place in places
    ]
    for place in places:
        (tmp_path / place).write_bytes(b"not decoded")
    pd.DataFrame(rows).to_csv(tmp_path / "own.csv", index=False)
    config = compose(
        "data=table",
        f"data.root={tmp_path}/own.csv",
        "evaluation.camera_statistics=64",
        "data.validation=none",
    )
    datamodule = build_datamodule(config)
    datamodule.setup("test")
    with pytest.raises(
        InputError, match=r"evaluation\.camera_statistics=64 needs known cameras, and the test has"
    ):
        check_data(config, datamodule)
