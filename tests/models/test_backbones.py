import urllib.error

import pytest
import timm
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from reid_lightning.errors import InputError
from reid_lightning.models.convolutional_backbones import osnet, resnet, resnet10, resnet50_narrow, vgg16
from reid_lightning.models.osnet import OSNet
from reid_lightning.models.timm_backbone import TimmBackbone
from reid_lightning.models.weights import load_weights

MAPS = [
    (lambda: resnet("resnet18", None), (512, 4, 2)),
    (lambda: resnet("resnet18", None, last_stride=2), (512, 2, 1)),
    (lambda: resnet("resnet50", None), (2048, 4, 2)),
    (lambda: vgg16(None), (512, 2, 1)),
    (lambda: osnet(0.25), (128, 4, 2)),
    (lambda: osnet(1.0), (512, 4, 2)),
    (lambda: TimmBackbone("mobilenetv1_100", None), (1024, 2, 1)),
    (lambda: TimmBackbone("vit_tiny_patch16_224", None, image_size=(64, 32)), (192, 4, 2)),
    (lambda: TimmBackbone("swin_tiny_patch4_window7_224", None, image_size=(64, 32)), (768, 2, 1)),
]


@pytest.mark.parametrize(("make", "shape"), MAPS)
def test_map_shapes(make, shape):
    backbone = make().eval()
    with torch.no_grad():
        assert backbone(torch.randn(1, 3, 64, 32)).shape == (1, *shape)
    assert backbone.out_channels == shape[0]


def test_resnet_equals_torchvisions():
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18().eval()
    ours = resnet("resnet18", None, last_stride=2).eval()
    ours.body.load_state_dict(theirs.state_dict(), strict=False)
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        pooled = ours(images).mean((2, 3))
        torch.testing.assert_close(theirs.fc(pooled), theirs(images))


def test_the_narrow_resnet50_is_resnet50_but_for_its_channels():
    torch.manual_seed(0)
    theirs, ours = resnet("resnet50", None).eval(), resnet50_narrow(width=1.0).eval()
    ours.body.load_state_dict(theirs.body.state_dict())
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))
        assert resnet50_narrow(width=0.25)(images).shape == (2, 512, 4, 2)
    assert len(ours.layers) == len(theirs.layers) == 1 + 16
    with pytest.raises(ValueError, match=r"^weights must be a file or null .*full resnet50"):
        resnet50_narrow(weights="imagenet")


@pytest.mark.parametrize(
    ("make", "block", "depths", "stride"),
    [(resnet10, "BasicBlock", (1, 1, 1, 1), 16), (resnet50_narrow, "Bottleneck", (3, 4, 6, 3), 32)],
)
def test_untrained_resnets_start_like_timms(make, block, depths, stride):
    torch.manual_seed(0)
    ours = make(width=0.5).body
    torch.manual_seed(0)
    theirs = timm.models.resnet.ResNet(
        getattr(timm.models.resnet, block),
        depths,
        num_classes=0,
        output_stride=stride,
        channels=(32, 64, 128, 256),
    )
    if stride == 32:
        theirs.layer4[0].conv2.stride = theirs.layer4[0].downsample[0].stride = (1, 1)
    expected = theirs.state_dict()
    assert list(ours.state_dict()) == list(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in ours.state_dict().items())
    for parameter in (*ours.parameters(), *theirs.parameters()):
        if parameter.ndim == 1:
            torch.nn.init.ones_(parameter)  # the branches count, too
    images = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(ours(images), theirs.forward_features(images))


@pytest.mark.parametrize(("width", "millions"), [(1.0, 2.2), (0.75, 1.3), (0.5, 0.6), (0.25, 0.2)])
def test_osnet_has_the_papers_size(width, millions):
    network = OSNet(width)
    fully_connected = network.out_channels * 512 + 512 + 2 * 512  # linear layer and its normalization
    count = sum(parameter.numel() for parameter in network.parameters()) + fully_connected
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize(("width", "millions"), [(1.0, 978.9), (0.75, 571.8), (0.5, 272.9), (0.25, 82.3)])
def test_osnet_has_the_papers_cost(width, millions):
    with torch.device("meta"):
        network, image = OSNet(width), torch.empty(1, 3, 256, 128)
    with FlopCounterMode(display=False) as counter:
        network(image)
    multiply_adds = (
        counter.get_total_flops() / 2 + network.out_channels * 512
    )  # with the fully connected layer
    assert multiply_adds / 1e6 == pytest.approx(millions, abs=0.15)


def test_frozen_layers_do_not_move():
    backbone = resnet("resnet18", None, frozen_layers=3)
    before = {name: value.clone() for name, value in backbone.body.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    backbone.train()
    for _ in range(2):
        optimizer.zero_grad()
        backbone(torch.randn(4, 3, 64, 32)).square().mean().backward()
        optimizer.step()
    moved = {
        name for name, value in backbone.body.state_dict().items() if not torch.equal(value, before[name])
    }
    frozen = {name for name in before if name.startswith(("conv1", "bn1", "layer1"))}
    assert not moved & frozen
    assert {"layer2.0.conv1.weight", "layer2.0.bn1.running_mean", "layer4.1.conv2.weight"} <= moved


def test_more_frozen_layers_than_there_are():
    with pytest.raises(ValueError, match=r"^frozen_layers must be 0 to 9, .* got 99"):
        resnet("resnet18", None, frozen_layers=99)


def test_a_transformers_layers_are_its_embedding_and_its_blocks():
    backbone = TimmBackbone("vit_tiny_patch16_224", None, image_size=(64, 32), frozen_layers=3)
    assert len(backbone.layers) == 1 + 12
    frozen = {name for name, parameter in backbone.body.named_parameters() if not parameter.requires_grad}
    expected = ("cls_token", "pos_embed", "patch_embed.", "blocks.0.", "blocks.1.")
    assert frozen == {name for name, _ in backbone.body.named_parameters() if name.startswith(expected)}


@pytest.mark.parametrize("name", ["mobilenetv1_100", "resnet10t", "vit_tiny_patch16_224", "convnext_atto"])
def test_every_parameter_of_a_timm_model_is_in_one_layer(name):
    backbone = TimmBackbone(name, None)
    layered = [parameter for layer in backbone.layers for parameter in layer.parameters()]
    assert len({id(parameter) for parameter in layered}) == len(layered)
    assert {id(parameter) for parameter in layered} == {id(parameter) for parameter in backbone.parameters()}


def test_frozen_layers_of_a_timm_model_keep_their_statistics():
    backbone = TimmBackbone("resnet10t", None, frozen_layers=2).train()
    before = {name: value.clone() for name, value in backbone.body.state_dict().items()}
    backbone(torch.randn(2, 3, 64, 32))
    moved = {
        name for name, value in backbone.body.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved
    assert all(name.startswith(("layer2", "layer3", "layer4")) for name in moved)


def test_a_timm_model_without_weights_says_so():
    with pytest.raises(ValueError, match=r"^weights must be a file or null, got imagenet: .* starnet_s050"):
        TimmBackbone("starnet_s050", "imagenet")


def test_a_failed_timm_download_says_which_file_goes_where(monkeypatch):
    def offline(name, pretrained=False, **arguments):
        raise FileNotFoundError("not in the cache, and no network")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        InputError, match=r"huggingface\.co/timm/resnet10t.*/model\.safetensors.*weights=FILE"
    ):
        TimmBackbone("resnet10t", "imagenet")


def test_an_unknown_timm_name_suggests_near_ones():
    with pytest.raises(
        ValueError, match=r"^name must be a timm model, got resnet_fifty; near it: .*resnet50"
    ):
        TimmBackbone("resnet_fifty", None)


def test_osnet_has_no_imagenet_download():
    with pytest.raises(ValueError, match=r"^weights must be a file or null .*OSNet.* got imagenet"):
        osnet(0.25, "imagenet")


def test_a_failed_download_says_which_file_goes_where(monkeypatch):
    def offline(self, progress):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", offline)
    with pytest.raises(InputError, match=r"resnet18-f37072fd\.pth.*checkpoints.*backbone\.weights=null"):
        resnet("resnet18", "imagenet")


@pytest.fixture(scope="module")
def source():
    """Return a network whose weights are written to files."""
    return OSNet(0.25)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {"model": {f"backbone.{name}": tensor for name, tensor in state.items()}},
        lambda state: {"state_dict": {f"network.backbone.body.{name}": t for name, t in state.items()}},
        lambda state: (
            {f"base.{name}": tensor for name, tensor in state.items()} | {"classifier.weight": torch.ones(2)}
        ),
    ],
)
def test_weights_load_whatever_is_wrapped_around_them(tmp_path, source, wrap):
    file = tmp_path / "weights.pth"
    torch.save(wrap(source.state_dict()), file)
    loaded = osnet(0.25, str(file)).body.state_dict()
    for name, tensor in source.state_dict().items():
        assert torch.equal(loaded[name], tensor)


def test_safetensors_load(tmp_path, source):
    from safetensors.torch import save_file

    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    report = load_weights(OSNet(0.25), tmp_path / "weights.safetensors")
    assert not report.missing
    assert not report.unexpected


def test_the_report_counts_what_matched(tmp_path):
    state = OSNet(0.25).state_dict()
    del state["conv5.conv.weight"]
    state["conv5.bn.weight"] = torch.ones(3)
    state["fc.weight"] = torch.ones(3)
    torch.save(state, tmp_path / "weights.pth")
    report = load_weights(OSNet(0.25), tmp_path / "weights.pth")
    assert report.missing == ("conv5.conv.weight",)
    assert report.wrong_shape == ("conv5.bn.weight",)
    assert report.unexpected == ("fc.weight",)
    assert "1 missing in the file (conv5.conv.weight)" in str(report)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "weights.pth")
    with pytest.raises(InputError, match="does not fit: 0 of"):
        osnet(0.25, str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("content", [None, b"not a file of torch"])
def test_a_missing_or_broken_file_is_named(tmp_path, content):
    file = tmp_path / "weights.pth"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.pth"):
        osnet(0.25, str(file))
