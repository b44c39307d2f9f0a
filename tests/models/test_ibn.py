import urllib.error

import pytest
import torch
from torch import nn

from reid_lightning.errors import InputError
from reid_lightning.models.convolutional_backbones import resnet, resnet10
from reid_lightning.models.ibn import InstanceBatchNorm


def test_each_half_has_its_own_normalisation():
    torch.manual_seed(0)
    norm, x = InstanceBatchNorm(6), torch.randn(4, 6, 5, 3) * 7 + 2
    out = norm(x)
    for image in range(4):
        for channel in range(3):
            own = x[image, channel]
            expected = (own - own.mean()) / (own.var(unbiased=False) + 1e-5).sqrt()
            torch.testing.assert_close(out[image, channel], expected)
    for channel in range(3, 6):
        column = x[:, channel]
        expected = (column - column.mean()) / (column.var(unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(out[:, channel], expected)


@pytest.mark.parametrize("channels_last", [False, True])
def test_memory_format_changes_nothing(channels_last):
    norm, x = InstanceBatchNorm(6).eval(), torch.randn(2, 6, 5, 3)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    torch.testing.assert_close(norm(x.to(memory_format=layout)), norm(x))


def test_ibn_a_is_in_the_first_norm_of_every_block_of_three_stages():
    body = resnet("resnet50", None, instance_norm=True).body
    found = [name for name, module in body.named_modules() if isinstance(module, InstanceBatchNorm)]
    assert found == [
        f"layer{stage}.{i}.bn1" for stage, blocks in ((1, 3), (2, 4), (3, 6)) for i in range(blocks)
    ]
    assert body.layer1[0].bn1.IN.num_features == 32
    plain = resnet("resnet50", None).body
    assert sum(p.numel() for p in body.parameters()) == sum(p.numel() for p in plain.parameters())
    assert not any(isinstance(module, nn.InstanceNorm2d) for module in body.layer4.modules())


def test_the_small_resnet_takes_it_too():
    body = resnet10(instance_norm=True).body
    halves = [type(stage[0].bn1).__name__ for stage in (body.layer1, body.layer2, body.layer3, body.layer4)]
    assert halves == ["InstanceBatchNorm"] * 3 + ["BatchNorm2d"]


def test_imagenet_weights_are_the_authors(monkeypatch):
    saved = {
        name: value + 1
        for name, value in resnet("resnet18", None, instance_norm=True).body.state_dict().items()
    }
    asked = []

    def released(url, **_):
        asked.append(url)
        return saved | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", released)
    body = resnet("resnet18", "imagenet", instance_norm=True).body
    assert asked[0].endswith("resnet18_ibn_a-2f571257.pth")
    assert all(torch.equal(value, saved[name]) for name, value in body.state_dict().items())

    def offline(url, **_):
        raise urllib.error.URLError("offline")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(
        InputError, match=r"resnet50_ibn_a-d9d0bb7b\.pth.*checkpoints.*backbone\.weights=FILE"
    ):
        resnet("resnet50", "imagenet", instance_norm=True)
    with pytest.raises(ValueError, match=r"^name must be one of resnet18, .*IBN-a.* got resnet152"):
        resnet("resnet152", "imagenet", instance_norm=True)
