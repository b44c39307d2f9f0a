"""The network of a model as a graph: images go in, and what the protocol compares comes out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from reid_lightning.engine.trained import TrainedModule
from reid_lightning.inference.backends import TorchBackend
from reid_lightning.models.normalization import InputNormalization
from reid_lightning.runtime.facts import ATTRIBUTES, EMBEDDING, IMAGENET_MEAN, IMAGENET_STD, TRAITS


class ExportGraph(nn.Module):
    """Maps (N, 3, H, W) images to the outputs of an exported file, in the order of `names`.

    Args:
        backend: Of the model.
        attributes: Whether attributes and traits are outputs beside the vectors.
    """

    def __init__(self, backend: TorchBackend, attributes: bool) -> None:
        super().__init__()
        self.module = backend.module
        self._backend, self._all = backend, attributes
        self.names = [EMBEDDING]
        if attributes and backend.schema is not None:
            self.names.append(ATTRIBUTES)
        if attributes and backend.traits:
            self.names.append(TRAITS)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the (N, D) vectors, and where asked for (N, C) probabilities of attributes and (N, T) traits."""
        if not self._all:
            return (self._backend.embed(images),)
        return tuple(part for part in self._backend.answer(images) if part is not None)


class _FromImageNet(nn.Module):
    """Turns images normalized by ImageNet's numbers into those that a network takes."""

    scale: Tensor
    shift: Tensor

    def __init__(self, own: InputNormalization) -> None:
        super().__init__()
        mean, std = (torch.tensor(row).view(3, 1, 1) for row in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("scale", std / own.std.cpu(), persistent=False)
        self.register_buffer("shift", (mean - own.mean.cpu()) / own.std.cpu(), persistent=False)
        self.is_identity = bool(torch.equal(mean, own.mean.cpu()) and torch.equal(std, own.std.cpu()))

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 3, H, W) float images as the network's own normalization gives them."""
        return images if self.is_identity else images * self.scale + self.shift


@contextmanager
def normalized_outside(module: TrainedModule) -> Iterator[None]:
    """Let a network take float images that ImageNet's mean and deviation have normalized."""
    network: Any = module.network
    own = network.normalize
    network.normalize = _FromImageNet(own)
    try:
        yield
    finally:
        network.normalize = own
