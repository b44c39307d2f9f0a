"""ResNets as fast-reid and BoT have changed them, so that their published weights give the features that they gave there."""

from typing import Any

from torch import Tensor, nn

from reid_lightning.errors import require
from reid_lightning.models.backbone import IMAGENET, Backbone, load_file
from reid_lightning.models.convolutional_backbones import resnet

STEMS = ("torchvision", "fastreid", "bot")
_CHANNELS = {2: 512, 3: 1024}  # of the stages with non-local layers
_NON_LOCAL = {"resnet50": {2: 2, 3: 3}, "resnet101": {2: 2, 3: 9}}  # last blocks of a stage that one follows


class NonLocal(nn.Module):
    """Every position takes up a weighted sum over all positions (Wang et al., CVPR 2018, dot product of eq. 4).

    As in fast-reid, queries, keys and values have a single channel. Submodules carry the names of the published weights.

    Args:
        channels: C.

    Examples:
        >>> import torch
        >>> layer = NonLocal(8)
        >>> x = torch.randn(2, 8, 4, 2)
        >>> torch.equal(layer(x), x)  # it begins as the identity
        True
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g, self.theta, self.phi = (nn.Conv2d(channels, 1, 1) for _ in range(3))
        self.W = nn.Sequential(nn.Conv2d(1, channels, 1), nn.BatchNorm2d(channels))
        nn.init.zeros_(self.W[1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        value, query, key = (layer(x).flatten(2) for layer in (self.g, self.theta, self.phi))  # (B, 1, hw)
        pairs = query.transpose(1, 2) @ key / key.shape[2]  # (B, hw, hw)
        taken: Tensor = self.W((value @ pairs.transpose(1, 2)).unflatten(2, x.shape[2:]))
        return x + taken


class NonLocalResNet(nn.Module):
    """A ResNet whose last blocks of stages 2 and 3 are followed by non-local layers (Ye et al., TPAMI 2021, AGW).

    Args:
        body: ResNet of `Backbone`, whose parts keep their names.
        name: `resnet50` or `resnet101`.
    """

    def __init__(self, body: nn.Sequential, name: str) -> None:
        super().__init__()
        for part, module in body.named_children():
            self.add_module(part, module)
        for stage, count in _NON_LOCAL[name].items():
            layers = nn.ModuleList(NonLocal(_CHANNELS[stage]) for _ in range(count))
            self.add_module(f"NL_{stage}", layers)

    def non_local(self, stage: int) -> list[nn.Module]:
        """Return the non-local layers of a stage, of its last blocks in their order."""
        return list(getattr(self, f"NL_{stage}", ()))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 2048, H / 16, W / 16)."""
        own: Any = self
        x = own.maxpool(own.relu(own.bn1(own.conv1(x))))
        for number in range(1, 5):
            stage = getattr(own, f"layer{number}")
            layers = self.non_local(number)
            for place, block in enumerate(stage, start=len(layers) - len(stage)):
                x = block(x)
                if place >= 0:
                    x = layers[place](x)
        return x


def published_resnet(
    name: str = "resnet50",
    weights: str | None = None,
    stem: str = "fastreid",
    non_local: bool = False,
    last_stride: int = 1,
    instance_norm: bool = False,
    frozen_layers: int = 0,
) -> Backbone:
    """Return a ResNet of torchvision with the changes of another project.

    Args:
        name: `resnet18` to `resnet152`.
        weights: A file, or None.
        stem: `torchvision`; `fastreid`: the maximum takes no border (`padding=0, ceil_mode=True`); `bot`: no ReLU.
        non_local: Non-local layers after the last blocks of stages 2 and 3, as fast-reid's AGW and SBS have them.
        last_stride: Stride of the last stage, 1 or 2.
        instance_norm: IBN-a in the first three stages.
        frozen_layers: First layers to freeze: the stem, then each residual block with what follows it.
    """
    require(stem in STEMS, "stem", f"one of {', '.join(STEMS)}", stem)
    require(weights != IMAGENET, "weights", "a file or null", weights)
    plain = resnet(name, None, last_stride, instance_norm)
    body: Any = plain.body
    if stem == "fastreid":
        body.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    elif stem == "bot":
        body.relu = nn.Identity()
    layers, depths = plain.layers, plain.depths
    if stem == "bot":
        depths[0] = body.relu
    if non_local:
        require(
            name in _NON_LOCAL, "non_local", f"false but for {' and '.join(_NON_LOCAL)}", f"true for {name}"
        )
        body = NonLocalResNet(body, name)
        after = {
            id(block): layer
            for stage in _NON_LOCAL[name]
            for block, layer in zip(
                list(getattr(body, f"layer{stage}"))[-len(body.non_local(stage)) :],
                body.non_local(stage),
                strict=True,
            )
        }
        layers = [nn.ModuleList([each, after[id(each)]]) if id(each) in after else each for each in layers]
    load_file(body, weights)
    return Backbone(body, layers, plain.out_channels, frozen_layers, depths)
