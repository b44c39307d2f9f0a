import pytest
import torch
from torch import nn

from reid_lightning.models.convolutional_backbones import resnet10


def test_the_stem_is_as_wide_as_it_is_told_and_keeps_the_size_of_the_map():
    images = torch.rand(2, 3, 96, 48)
    usual, light = resnet10().eval(), resnet10(0.375, stem_channels=24, stem_kernel=3).eval()
    assert usual(images).shape == (2, 256, 6, 3)
    assert light(images).shape == (2, 192, 6, 3)
    assert usual.body.conv1.weight.shape == (64, 3, 7, 7)
    assert light.body.conv1.weight.shape == (24, 3, 3, 3)
    assert light.body.layer1[0].downsample is None  # 24 channels in, 24 out


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_every_kernel_looks_around_the_same_pixels(kernel):
    stem = resnet10(stem_kernel=kernel).body.conv1
    nn.init.zeros_(stem.weight)
    with torch.no_grad():
        stem.weight[0, :, kernel // 2, kernel // 2] = 1  # copies every second pixel of every second row
        images = torch.rand(1, 3, 12, 8)
        assert torch.allclose(stem(images)[0, 0], images[0, :, ::2, ::2].sum(0), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stem_channels": 0}, "stem_channels must be at least 1"),
        ({"stem_kernel": 4}, "stem_kernel must be an odd number"),
    ],
)
def test_a_stem_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        resnet10(**settings)


def test_the_default_run_takes_the_light_one(compose):
    config = compose()
    assert config["backbone"]["stem_channels"] == 24
    assert config["sampler"]["identities"] == 8
    assert compose("sampler.identities=4")["sampler"]["identities"] == 4
    assert compose("data=market1501", "data.root=x")["sampler"]["identities"] == 16
    assert compose("backbone=resnet10")["backbone"]["stem_channels"] == 64
