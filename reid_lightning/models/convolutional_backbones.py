"""Convolutional backbones: from normalized images to a feature map, with weights, last stride and freezing."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from reid_lightning.config.declared import replaces
from reid_lightning.errors import require
from reid_lightning.models.backbone import IMAGENET, Backbone, load_file
from reid_lightning.models.feed import PLAIN, Feed, fed_by, of_torchvision
from reid_lightning.models.ibn import FILES, RELEASE, add_instance_norm, imagenet_weights
from reid_lightning.models.mildnet import MILDNet
from reid_lightning.models.osnet import OSNet
from reid_lightning.models.weights import download


def _as_torchvision(weights: str | None, name: str = "vgg16") -> Feed:
    """Return how torchvision evaluates a model of its own; from scratch it returns nothing."""
    return PLAIN if weights is None else of_torchvision(_imagenet(name))


def _as_torchreid(weights: str | None) -> Feed:
    """Return how torchreid feeds its models, whose files an OSNet starts from."""
    return PLAIN if weights is None else Feed(interpolation="bilinear", source="torchreid")


def _imagenet(name: str) -> Any:
    return torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]


@fed_by(_as_torchvision)
def resnet(
    name: str, weights: str | None, last_stride: int = 1, instance_norm: bool = False, frozen_layers: int = 0
) -> Backbone:
    """Return a torchvision ResNet without its classifier.

    Args:
        name: `resnet18`, `resnet50`, `resnet101` or another ResNet of torchvision.
        weights: `imagenet` (IMAGENET1K_V1; with `instance_norm` the authors'), a file, or None.
        last_stride: Stride of the last stage, 1 or 2; 1 doubles the map (Luo et al. 2019, Sec. 2.3).
        instance_norm: IBN-a: instance normalization of half the channels in the first three stages (Pan et al. 2018).
        frozen_layers: First layers to freeze: the stem, then each residual block.
    """
    if last_stride not in (1, 2):
        raise ValueError(f"last_stride must be 1 or 2, got {last_stride}")
    model = _resnet_ibn(name, weights) if instance_norm else _torchvision(name, weights)
    if last_stride == 1:
        _undo_last_stride(model)
    return _resnet(model, model.fc.in_features, weights, frozen_layers, _as_torchvision(weights, name))


def resnet10(
    width: float = 0.5,
    weights: str | None = None,
    instance_norm: bool = False,
    frozen_layers: int = 0,
    stem_channels: int = 64,
    stem_kernel: int = 7,
) -> Backbone:
    """Return a ResNet of one basic block per stage, last stride 1: the quickest of its kind to learn on a CPU.

    Args:
        width: Factor of the channels, which are 64 to 512 at 1.0.
        weights: A file, or None.
        instance_norm: IBN-a, as of `resnet`.
        frozen_layers: First layers to freeze: the stem, then each of the four blocks.
        stem_channels: Channels of the stem, which sees the most pixels; at 64 it takes a third of a step.
        stem_kernel: Height and width of the stem's filters in pixels, odd.

    Raises:
        ValueError: The stem has no channels, or filters without a center.
    """
    require(weights != IMAGENET, "weights", "a file or null (resnet10 has no ImageNet weights)", weights)
    require(stem_channels >= 1, "stem_channels", "at least 1", stem_channels)
    require(stem_kernel >= 1 and stem_kernel % 2 == 1, "stem_kernel", "an odd number", stem_kernel)
    channels = _channels(width)
    model = _untrained(BasicBlock, (1, 1, 1, 1), channels, stem_channels, stem_kernel)
    model.layer4[0].conv2.dilation = model.layer4[0].conv2.padding = (2, 2)  # sees as far as with stride 2
    if instance_norm:
        add_instance_norm(model)
    return _resnet(model, channels[-1], weights, frozen_layers)


def resnet50_narrow(width: float = 0.25, weights: str | None = None, frozen_layers: int = 0) -> Backbone:
    """Return a ResNet of ResNet-50's layout with fewer channels, last stride 1, for training from scratch on a CPU.

    Args:
        width: Factor of the channels of the four stages, which are 256 to 2048 at 1.0; the stem keeps 64.
        weights: A file, or None.
        frozen_layers: First layers to freeze: the stem, then each of the 16 blocks.
    """
    require(weights != IMAGENET, "weights", "a file or null (only the full resnet50 has ImageNet's)", weights)
    channels = _channels(width)
    model = _untrained(Bottleneck, (3, 4, 6, 3), channels)
    return _resnet(model, channels[-1] * Bottleneck.expansion, weights, frozen_layers)


def _channels(width: float) -> tuple[int, ...]:
    return tuple(round(width * count) for count in (64, 128, 256, 512))


def _untrained(
    block: type[BasicBlock] | type[Bottleneck],
    depths: Sequence[int],
    channels: Sequence[int],
    stem_channels: int = 64,
    stem_kernel: int = 7,
) -> Any:
    """Return a ResNet with torchvision's stem and blocks, any channels and last stride 1.

    Every block starts as its shortcut: the last normalization of a branch has weight 0 (Goyal et al. 2017, Sec. 5.1).
    """
    before = stem_channels
    stem = nn.Conv2d(3, before, stem_kernel, stride=2, padding=stem_kernel // 2, bias=False)
    parts: list[tuple[str, nn.Module]] = [
        ("conv1", stem),
        ("bn1", nn.BatchNorm2d(before)),
        ("relu", nn.ReLU(inplace=True)),
        ("maxpool", nn.MaxPool2d(3, stride=2, padding=1)),
    ]
    for stage, (depth, planes) in enumerate(zip(depths, channels, strict=True), start=1):
        blocks: list[nn.Module] = []
        for number in range(depth):
            stride = 2 if number == 0 and stage in (2, 3) else 1
            after, shortcut = planes * block.expansion, None
            if stride > 1 or before != after:
                convolution = nn.Conv2d(before, after, 1, stride=stride, bias=False)
                shortcut = nn.Sequential(convolution, nn.BatchNorm2d(after))
            blocks.append(block(before, planes, stride, shortcut))
            before = after
        parts.append((f"layer{stage}", nn.Sequential(*blocks)))
    model = nn.Sequential(OrderedDict(parts))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, BasicBlock | Bottleneck):
            last: Any = module.bn2 if isinstance(module, BasicBlock) else module.bn3
            nn.init.zeros_(last.weight)
    return model


def _undo_last_stride(model: Any) -> None:
    block = model.layer4[0]
    for convolution in (block.conv1, block.conv2, block.downsample[0]):
        if convolution.stride == (2, 2):
            convolution.stride = (1, 1)


def _resnet(
    model: Any, out_channels: int, weights: str | None, frozen_layers: int, feed: Feed = PLAIN
) -> Backbone:
    """Take the classifier off a ResNet and name its layers."""
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    body = nn.Sequential(OrderedDict((part, getattr(model, part)) for part in names))
    load_file(body, weights)
    blocks = [block for stage in (model.layer1, model.layer2, model.layer3, model.layer4) for block in stage]
    stem = nn.ModuleList([model.conv1, model.bn1])
    depths = [model.relu, *blocks]
    return Backbone(body, [stem, *blocks], out_channels, frozen_layers, depths, feed)


@fed_by(_as_torchvision)
def vgg16(weights: str | None, frozen_layers: int = 0) -> Backbone:
    """Return torchvision's VGG16 convolutions (Simonyan and Zisserman 2015).

    Args:
        weights: `imagenet` (IMAGENET1K_V1), a file, or None.
        frozen_layers: First convolutions to freeze, of 13; 7 freezes up to block3_conv3.
    """
    model = _torchvision("vgg16", weights)
    body = nn.Sequential(OrderedDict(features=model.features))
    load_file(body, weights)
    return _vgg(body, 512, frozen_layers, weights)


@fed_by(_as_torchvision)
@replaces("pooling", "MILDNet pools each of its depths itself")
def mildnet(width: float = 1.0, weights: str | None = None, frozen_layers: int = 0) -> Backbone:
    """Return a MILDNet, whose map is 1 x 1 (FH Kiel 2020).

    Args:
        width: Factor of the channels, which make 1472 at 1.0.
        weights: `imagenet` (VGG16's IMAGENET1K_V1), a file with the weights of a VGG16 or a MILDNet, or None.
        frozen_layers: First convolutions to freeze, of 13; 7 freezes up to block3_conv3.

    Raises:
        ValueError: `imagenet` is asked for at another width.
    """
    if weights == IMAGENET:
        require(width == 1, "width", "1 with ImageNet's weights (null trains from scratch)", width)
    body = MILDNet(width)
    if weights == IMAGENET:
        body.features.load_state_dict(_torchvision("vgg16", weights).features.state_dict())
    load_file(body, weights)
    return _vgg(body, body.out_channels, frozen_layers, weights)


def _vgg(body: Any, out_channels: int, frozen_layers: int, weights: str | None) -> Backbone:
    """Name the layers of a VGG: a layer is a convolution, and its maps are what comes out of the ReLU after it."""
    convolutions, activations = (
        [layer for layer in body.features if isinstance(layer, kind)] for kind in (nn.Conv2d, nn.ReLU)
    )
    return Backbone(body, convolutions, out_channels, frozen_layers, activations, _as_torchvision(weights))


@fed_by(_as_torchreid)
def osnet(
    width: float = 1.0, weights: str | None = None, frozen_layers: int = 0, instance_norm: str = "none"
) -> Backbone:
    """Return an OSNet (Zhou et al. 2019).

    Args:
        width: Factor of the channels: 1.0, 0.75, 0.5 or 0.25 in the paper.
        weights: A file, or None.
        frozen_layers: First layers to freeze: the stem, then each block and transition, then the last convolution.
        instance_norm: `none`, `ibn` or `ain`, as of `OSNet`.

    Raises:
        ValueError: `imagenet` is asked for, which is not downloaded by itself.
    """
    require(
        weights != IMAGENET,
        "weights",
        "a file or null (OSNet's ImageNet weights are on Hugging Face as kaiyangzhou/osnet)",
        weights,
    )
    body = OSNet(width, instance_norm)
    load_file(body, weights)
    layers = [body.conv1, *body.conv2, *body.conv3, *body.conv4, body.conv5]
    return Backbone(body, layers, body.out_channels, frozen_layers, feed=_as_torchreid(weights))


def _hub_folder() -> str:
    return f"{torch.hub.get_dir()}/checkpoints"


def _resnet_ibn(name: str, weights: str | None) -> Any:
    model = _torchvision(name, None)
    add_instance_norm(model)
    if weights == IMAGENET:
        offered = f"one of {', '.join(FILES)} for ImageNet weights with IBN-a (null trains from scratch)"
        require(name in FILES, "name", offered, name)
        state = download(lambda: imagenet_weights(name), RELEASE + FILES[name], _hub_folder())
        model.load_state_dict(state, strict=False)
    return model


def _torchvision(name: str, weights: str | None) -> Any:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ValueError(f"name must be a torchvision model, got {name}")
    model = torchvision.models.get_model(name)
    if weights == IMAGENET:
        choice = _imagenet(name)
        model.load_state_dict(
            download(lambda: choice.get_state_dict(progress=True), choice.url, _hub_folder())
        )
    return model
