import pytest
import torch
from torch import nn

from reid_lightning.models.flops import forward_gflops
from reid_lightning.models.network import ReIDNetwork


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.linear = nn.Linear(8, 5)

    def forward(self, images):
        return self.linear(self.norm(self.conv(images / 255.0)).mean(dim=(2, 3)))


def test_operations_are_those_of_the_closed_form_and_nothing_changes():
    network = Small()
    network.norm.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    convolution, linear = 2 * (8 * 4) * 8 * 3 * 9, 2 * 8 * 5
    assert forward_gflops(network, (16, 8)) == pytest.approx((convolution + linear) / 1e9)
    assert network.training
    assert not network.norm.training
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_a_compiled_network_is_counted_without_compiling(monkeypatch):
    network = Small()
    network.compile(backend=lambda *_: pytest.fail("was compiled"))
    assert forward_gflops(network, (16, 8)) > 0


def test_four_times_the_pixels_are_four_times_the_work():
    class Backbone(nn.Conv2d):
        out_channels = 4

    network = ReIDNetwork(
        Backbone(3, 4, 3, padding=1), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), Neck, None, 0
    )
    assert forward_gflops(network, (32, 16)) == pytest.approx(4 * forward_gflops(network, (16, 8)))


class Neck(nn.Module):
    def __init__(self, in_features):
        super().__init__()
        self.out_features = in_features

    def forward(self, pooled):
        return pooled, pooled, pooled
