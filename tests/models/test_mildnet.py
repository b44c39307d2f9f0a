"""MILDNet's vector against torchvision's own VGG16, block by block."""

import pytest
import torch
import torchvision
from torch import nn

from reid_lightning.models.convolutional_backbones import mildnet, vgg16
from reid_lightning.models.mildnet import MILDNet
from reid_lightning.models.necks import LinearNeck
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.models.pooling import AveragePooling, GeMPooling, MaxPooling

BLOCKS = (64, 128, 256, 512, 512)
# The last layer of each block in torchvision's VGG16: its max-pool.
ENDS = (4, 9, 16, 23, 30)


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    with torch.device("meta"):
        model = torchvision.models.vgg16(init_weights=False).features
    model = model.to_empty(device="cpu")
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05)
    return model.eval()


def test_the_vector_has_1472_features():
    backbone = mildnet()
    with torch.no_grad():
        features = backbone(torch.randn(2, 3, 64, 32))
    assert backbone.out_channels == sum(BLOCKS) == 1472
    assert features.shape == (2, 1472, 1, 1)


def test_each_part_is_the_mean_of_its_block(theirs):
    backbone = mildnet()
    backbone.body.features.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 96, 48)
    with torch.no_grad():
        parts = backbone(images)[:, :, 0, 0].split(BLOCKS, 1)
        for part, end in zip(parts, ENDS, strict=True):
            block = theirs[: end + 1](images)
            assert isinstance(theirs[end], nn.MaxPool2d)
            torch.testing.assert_close(part, block.mean((2, 3)))


@pytest.mark.parametrize("pooling", [AveragePooling(), MaxPooling(), GeMPooling()])
def test_every_pooling_passes_the_vector_on(pooling):
    backbone = mildnet(width=0.125)
    with torch.no_grad():
        features = backbone(torch.randn(2, 3, 64, 32))
        torch.testing.assert_close(pooling(features), features[:, :, 0, 0], atol=1e-5, rtol=1e-5)


def test_width_scales_every_block_and_the_network_follows():
    backbone = mildnet(width=0.25)
    assert backbone.out_channels == 1472 // 4
    neck = LinearNeck(
        backbone.out_channels, embedding_size=2048, hidden_size=2048, batch_norm=False, dropout=0.6
    )
    assert [type(layer) for layer in neck.layers] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    network = ReIDNetwork(backbone, AveragePooling(), lambda size: neck, None, num_identities=3)
    images = torch.randint(0, 256, (2, 3, 64, 32), dtype=torch.uint8)
    network(images).before_neck.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in backbone.parameters())


def test_the_first_ten_layers_of_keras_are_seven_convolutions():
    backbone = mildnet(width=0.125, frozen_layers=7)
    frozen = {name for name, parameter in backbone.body.named_parameters() if not parameter.requires_grad}
    convolutions = (0, 2, 5, 7, 10, 12, 14)  # block1_conv1 to block3_conv3
    assert frozen == {f"features.{place}.{kind}" for place in convolutions for kind in ("weight", "bias")}
    assert len(backbone.layers) == 13


def test_imagenet_weights_are_those_of_vgg16(theirs, monkeypatch):
    state = {f"features.{name}": tensor for name, tensor in theirs.state_dict().items()}
    whole = torchvision.models.vgg16  # the classifier's 120 million weights are not needed here

    def without_classifier(name):
        model = nn.Module()
        model.features = whole(init_weights=False).features
        return model

    monkeypatch.setattr(torchvision.models, "get_model", without_classifier)
    monkeypatch.setattr(torchvision.models.VGG16_Weights, "get_state_dict", lambda self, progress: state)
    loaded = mildnet(weights="imagenet").body.features.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in theirs.state_dict().items())
    with pytest.raises(ValueError, match=r"^width must be 1 with ImageNet's weights .* got 0.5"):
        mildnet(width=0.5, weights="imagenet")


def test_a_file_of_vgg16_loads(theirs, tmp_path):
    torch.save(
        {f"features.{name}": tensor for name, tensor in theirs.state_dict().items()}, tmp_path / "vgg.pth"
    )
    loaded = mildnet(weights=str(tmp_path / "vgg.pth")).body.features.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in theirs.state_dict().items())


def test_it_starts_as_torchvisions_vgg16_does():
    torch.manual_seed(0)
    ours = [layer for layer in MILDNet().features if isinstance(layer, nn.Conv2d)]
    other = vgg16(None).layers
    for first, second in zip(ours, other, strict=True):
        assert first.weight.shape == second.weight.shape
        assert first.weight.std().item() == pytest.approx(second.weight.std().item(), rel=0.1)
        assert not first.bias.any()
