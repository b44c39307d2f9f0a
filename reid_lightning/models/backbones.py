"""Backbones: from normalised images to a feature map, with weights, last stride and freezing."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import timm
import torch
import torchvision
from timm.models import group_parameters
from torch import Tensor, nn

from reid_lightning.errors import InputError
from reid_lightning.models.mildnet import MILDNet
from reid_lightning.models.osnet import OSNet
from reid_lightning.models.weights import download, load_weights

IMAGENET = "imagenet"


class Backbone(nn.Module):
    """A body with its layers in order of depth, of which the first may be frozen.

    A frozen layer takes no gradient and keeps its batch normalisation in evaluation mode, so neither its weights
    nor its running statistics change.

    Args:
        body: (B, 3, H, W) -> (B, C, h, w), under its library's own names.
        layers: Parts of the body in order of depth; what `frozen_layers` counts.
        out_channels: C.
        frozen_layers: Number of first layers to freeze.

    Attributes:
        held: Whether the whole backbone stays as it is for now (`training.callbacks.HoldBackbone`).
    """

    def __init__(
        self, body: nn.Module, layers: Sequence[nn.Module], out_channels: int, frozen_layers: int = 0
    ) -> None:
        super().__init__()
        if not 0 <= frozen_layers <= len(layers):
            raise InputError(
                f"backbone.frozen_layers={frozen_layers} must be 0 to {len(layers)}, which this backbone has."
            )
        self.body = body
        self.out_channels = out_channels
        self.held = False
        self._layers = list(layers)  # parts of the body, not registered twice
        self._frozen = self._layers[:frozen_layers]
        for layer in self._frozen:
            layer.requires_grad_(False)
        self.train(self.training)

    @property
    def layers(self) -> list[nn.Module]:
        """Parts of the body in order of depth."""
        return list(self._layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images to a (B, C, h, w) feature map."""
        return self.body(images)

    def train(self, mode: bool = True) -> "Backbone":
        """Set training mode, frozen layers left in evaluation mode."""
        super().train(mode and not self.held)
        for layer in self._frozen:
            layer.eval()
        return self


def resnet(name: str, weights: str | None, last_stride: int = 1, frozen_layers: int = 0) -> Backbone:
    """Return a torchvision ResNet without its classifier.

    Args:
        name: `resnet18`, `resnet50`, `resnet101` or another ResNet of torchvision.
        weights: `imagenet` (IMAGENET1K_V1), a file, or None.
        last_stride: Stride of the last stage, 1 or 2; 1 doubles the map (Luo et al. 2019, Sec. 2.3).
        frozen_layers: First layers to freeze: the stem, then each residual block.
    """
    if last_stride not in (1, 2):
        raise InputError(f"backbone.last_stride={last_stride} must be 1 or 2.")
    model = _torchvision(name, weights)
    if last_stride == 1:
        _undo_last_stride(model)
    return _resnet(model, model.fc.in_features, weights, frozen_layers)


def resnet10(width: float = 0.5, weights: str | None = None, frozen_layers: int = 0) -> Backbone:
    """Return a ResNet of one basic block per stage, last stride 1: the quickest of its kind to learn on a CPU.

    Args:
        width: Factor of the channels, which are 64 to 512 at 1.0.
        weights: A file, or None.
        frozen_layers: First layers to freeze: the stem, then each of the four blocks.
    """
    if weights == IMAGENET:
        raise InputError("resnet10 has no ImageNet weights; give a file with backbone.weights=FILE, or null")
    channels = _channels(width)
    resnet_of: Any = timm.models.resnet.ResNet
    model = resnet_of(
        timm.models.resnet.BasicBlock, (1, 1, 1, 1), num_classes=0, output_stride=16, channels=channels
    )
    return _resnet(model, channels[-1], weights, frozen_layers)


def resnet50_narrow(width: float = 0.25, weights: str | None = None, frozen_layers: int = 0) -> Backbone:
    """Return a ResNet of ResNet-50's layout with fewer channels, last stride 1, for training from scratch on a CPU.

    Args:
        width: Factor of the channels of the four stages, which are 256 to 2048 at 1.0; the stem keeps 64.
        weights: A file, or None.
        frozen_layers: First layers to freeze: the stem, then each of the 16 blocks.
    """
    if weights == IMAGENET:
        raise InputError(
            "resnet50_narrow has no ImageNet weights; use backbone=resnet50, or backbone.weights=null"
        )
    resnet_of: Any = timm.models.resnet.ResNet
    model = resnet_of(timm.models.resnet.Bottleneck, (3, 4, 6, 3), num_classes=0, channels=_channels(width))
    _undo_last_stride(model)
    return _resnet(model, model.num_features, weights, frozen_layers)


def _channels(width: float) -> tuple[int, ...]:
    return tuple(round(width * count) for count in (64, 128, 256, 512))


def _undo_last_stride(model: Any) -> None:
    block = model.layer4[0]
    for convolution in (block.conv1, block.conv2, block.downsample[0]):
        if convolution.stride == (2, 2):
            convolution.stride = (1, 1)


def _resnet(model: Any, out_channels: int, weights: str | None, frozen_layers: int) -> Backbone:
    """Take the classifier off a ResNet and name its layers."""
    activation = "relu" if hasattr(model, "relu") else "act1"
    names = ("conv1", "bn1", activation, "maxpool", "layer1", "layer2", "layer3", "layer4")
    body = nn.Sequential(OrderedDict((part, getattr(model, part)) for part in names))
    _from_file(body, weights)
    layers: list[nn.Module] = [nn.ModuleList([model.conv1, model.bn1])]
    layers += [block for stage in (model.layer1, model.layer2, model.layer3, model.layer4) for block in stage]
    return Backbone(body, layers, out_channels, frozen_layers)


def vgg16(weights: str | None, frozen_layers: int = 0) -> Backbone:
    """Return torchvision's VGG16 convolutions (Simonyan and Zisserman 2015).

    Args:
        weights: `imagenet` (IMAGENET1K_V1), a file, or None.
        frozen_layers: First convolutions to freeze, of 13; 7 freezes up to block3_conv3.
    """
    model = _torchvision("vgg16", weights)
    body = nn.Sequential(OrderedDict(features=model.features))
    _from_file(body, weights)
    convolutions = [layer for layer in model.features if isinstance(layer, nn.Conv2d)]
    return Backbone(body, convolutions, 512, frozen_layers)


def mildnet(width: float = 1.0, weights: str | None = None, frozen_layers: int = 0) -> Backbone:
    """Return a MILDNet, whose map is 1 x 1 (FH Kiel 2020).

    Args:
        width: Factor of the channels, which make 1472 at 1.0.
        weights: `imagenet` (VGG16's IMAGENET1K_V1), a file with the weights of a VGG16 or a MILDNet, or None.
        frozen_layers: First convolutions to freeze, of 13; 7 freezes up to block3_conv3.

    Raises:
        InputError: `imagenet` is asked for at another width.
    """
    if weights == IMAGENET and width != 1:
        raise InputError(
            f"ImageNet's weights are of backbone.width=1, not {width}; set backbone.weights=null to train from scratch"
        )
    body = MILDNet(width)
    if weights == IMAGENET:
        body.features.load_state_dict(_torchvision("vgg16", weights).features.state_dict())
    _from_file(body, weights)
    convolutions = [layer for layer in body.features if isinstance(layer, nn.Conv2d)]
    return Backbone(body, convolutions, body.out_channels, frozen_layers)


def osnet(width: float = 1.0, weights: str | None = None, frozen_layers: int = 0) -> Backbone:
    """Return an OSNet (Zhou et al. 2019).

    Args:
        width: Factor of the channels: 1.0, 0.75, 0.5 or 0.25 in the paper.
        weights: A file, or None.
        frozen_layers: First layers to freeze: the stem, then each block and transition, then the last convolution.

    Raises:
        InputError: `imagenet` is asked for, which nobody offers for download without an account.
    """
    if weights == IMAGENET:
        raise InputError(
            "OSNet has no public ImageNet download; give a file with backbone.weights=FILE, or null to train from scratch"
        )
    body = OSNet(width)
    _from_file(body, weights)
    layers = [body.conv1, *body.conv2, *body.conv3, *body.conv4, body.conv5]
    return Backbone(body, layers, body.out_channels, frozen_layers)


class TimmBackbone(Backbone):
    """Any timm model as a backbone; a transformer's patch tokens become the map.

    Args:
        name: Model name, as `timm.list_models()` has it.
        weights: `imagenet` (the model's default), a file, or None.
        image_size: Height and width in pixels; a transformer's position embeddings are fitted to it.
        frozen_layers: First layers to freeze: the stem or patch embedding (with position embeddings and class
            token), then each block.

    Raises:
        InputError: The name is unknown, or `imagenet` is asked for and timm has no weights of this model.
    """

    def __init__(
        self, name: str, weights: str | None, image_size: Sequence[int] | None = None, frozen_layers: int = 0
    ) -> None:
        if not timm.is_model(name):
            near = timm.list_models(f"*{name.split('_')[0]}*")[:5]
            raise InputError(
                f"backbone.name={name} is no timm model" + (f"; near it: {', '.join(near)}" if near else "")
            )
        arguments: dict[str, Any] = {"num_classes": 0, "global_pool": ""}
        config = timm.get_pretrained_cfg(name)
        if image_size is not None and config is not None and config.fixed_input_size:
            arguments["img_size"] = tuple(image_size)
        if weights == IMAGENET:
            if config is None or not timm.is_model_pretrained(name):
                raise InputError(f"timm has no weights of {name}; set backbone.weights=null, or give a file")
            body = download(
                lambda: timm.create_model(name, pretrained=True, **arguments),
                f"model.safetensors of huggingface.co/{config.hf_hub_id}",
                "the Hugging Face cache folder",
            )
        else:
            body = timm.create_model(name, **arguments)
        _from_file(body, weights)
        super().__init__(body, _timm_layers(body), int(body.num_features), frozen_layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images to a (B, C, h, w) feature map."""
        body: Any = self.body
        features = body.forward_features(images)
        if features.ndim == 3:
            tokens = features[:, body.num_prefix_tokens :]
            return tokens.transpose(1, 2).unflatten(2, tuple(body.patch_embed.grid_size))
        return features.permute(0, 3, 1, 2) if getattr(body, "output_fmt", "NCHW") == "NHWC" else features


def _timm_layers(body: Any) -> list[nn.Module]:
    """Return the layers of a timm model in order of depth, as timm's own layer decay numbers them."""
    numbered: dict[int, list[str]] = group_parameters(body, body.group_matcher(coarse=False))
    return [_owners(body, set(numbered[number])) for number in sorted(numbered)]


def _owners(body: nn.Module, names: set[str]) -> nn.Module:
    """Return the modules that hold the named parameters and no others, and those parameters that have no such."""
    whole, bare = nn.ModuleList(), nn.ParameterList()
    for prefix in sorted({name.rpartition(".")[0] for name in names}):
        owner = body.get_submodule(prefix)
        own = {f"{prefix}.{name}".lstrip("."): p for name, p in owner.named_parameters()}
        if own.keys() <= names:
            whole.append(owner)
        else:  # position embeddings hang on the model itself
            bare.extend(p for name, p in own.items() if name in names and name.rpartition(".")[0] == prefix)
    return nn.ModuleList([whole, bare])


def _torchvision(name: str, weights: str | None) -> Any:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise InputError(f"backbone.name={name} is no torchvision model.")
    model = torchvision.models.get_model(name)
    if weights == IMAGENET:
        choice = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
        file = choice.url.rsplit("/", 1)[-1]
        state = download(
            lambda: choice.get_state_dict(progress=True), file, f"{torch.hub.get_dir()}/checkpoints"
        )
        model.load_state_dict(state)
    return model


def _from_file(body: nn.Module, weights: str | None) -> None:
    if weights not in (None, IMAGENET):
        load_weights(body, str(weights))
