"""What all backbones share: layers that may be frozen, and feature maps at several depths."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from reid_lightning.models.feed import PLAIN, Feed
from reid_lightning.models.hub import hub_file, is_hub_file
from reid_lightning.models.weights import load_weights

IMAGENET = "imagenet"


class Encoded(NamedTuple):
    """What a backbone makes of a batch.

    Attributes:
        map: (B, C, h, w) feature map.
        token: (B, C) class token of a transformer that has one.
        earlier: (B, 1 + N, C) class token and patches of such a transformer before its last block, where it gives them.
    """

    map: Tensor
    token: Tensor | None = None
    earlier: Tensor | None = None


class Backbone(nn.Module):
    """A body with its layers in order of depth, of which the first may be frozen.

    A frozen layer takes no gradient and keeps its batch normalization in evaluation mode, so neither its weights
    nor its running statistics change.

    Args:
        body: (B, 3, H, W) -> (B, C, h, w), under its library's own names.
        layers: Parts of the body in order of depth; what `frozen_layers` counts.
        out_channels: C.
        frozen_layers: Number of first layers to freeze.
        depths: Modules of the body, in order of depth, whose outputs are its feature maps; None: the layers.
        feed: How images come in.

    Attributes:
        has_token: Whether it gives a class token.
        gives_earlier: Whether it gives the tokens before its last block.
        reads_cameras: Whether it takes the cameras of the images, as `cameras` of `forward` and `encode`.
        held: Whether the whole backbone stays as it is for now (`training.callbacks.FreezeBackbone`).
    """

    has_token: bool = False
    gives_earlier: bool = False
    reads_cameras: bool = False

    def __init__(
        self,
        body: nn.Module,
        layers: Sequence[nn.Module],
        out_channels: int,
        frozen_layers: int = 0,
        depths: Sequence[nn.Module] | None = None,
        feed: Feed = PLAIN,
    ) -> None:
        super().__init__()
        if not 0 <= frozen_layers <= len(layers):
            raise ValueError(
                f"frozen_layers must be 0 to {len(layers)}, which this backbone has, got {frozen_layers}"
            )
        self.body = body
        self.out_channels = out_channels
        self.held = False
        self.feed = feed
        self._layers = list(layers)  # parts of the body, not registered twice
        self._depths = self._layers if depths is None else list(depths)
        self._frozen = self._layers[:frozen_layers]
        for layer in self._frozen:
            layer.requires_grad_(False)
        self.train(self.training)

    @property
    def layers(self) -> list[nn.Module]:
        """Parts of the body in order of depth."""
        return list(self._layers)

    @property
    def depths(self) -> list[nn.Module]:
        """Modules whose outputs are the feature maps, in order of depth; `as_map` gives an output its shape."""
        return list(self._depths)

    def as_map(self, output: Tensor) -> Tensor:
        """Return the output of one of the depths as a (B, C, h, w) map."""
        return output

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalized images to a (B, C, h, w) feature map."""
        return self.body(images)

    def encode(self, images: Tensor) -> Encoded:
        """Return the map of (B, 3, H, W) normalized images with the class token, where there is one."""
        return Encoded(self(images))

    def train(self, mode: bool = True) -> "Backbone":
        """Set training mode, frozen layers left in evaluation mode."""
        super().train(mode and not self.held)
        for layer in self._frozen:
            layer.eval()
        return self


def takes_one_size(backbone: nn.Module) -> bool:
    """Return whether a backbone takes images of the size alone that it was built for, as a ViT does.

    It says so itself in an attribute of this name, or a part of it does in timm's words.
    """
    strict = (getattr(module, "strict_img_size", False) for module in backbone.modules())
    return bool(getattr(backbone, "takes_one_size", False)) or any(strict)


def load_file(body: nn.Module, weights: str | Path | None) -> None:
    """Load the weights of a file, if `weights` names one, into a body under its library's own names."""
    if weights not in (None, IMAGENET):
        weights = str(weights)
        load_weights(body, hub_file(weights) if is_hub_file(weights) else weights)
