"""Batch normalization by the images of one camera, in a network that was trained elsewhere."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm  # of one and of several processes

from reid_lightning.distances import promote
from reid_lightning.errors import InputError

PRIOR = 128  # images that the training's statistics count for: a camera with few images changes little


class CameraStatistics:
    """Mean and variance of every batch normalization, for each of some cameras.

    Light, color and viewpoint of a camera shift the maps inside a network. Normalizing the images of each camera by their
    own mean and variance takes that out and needs no label and no training (Zhuang et al. 2020, "Rethinking the
    distribution gap of person re-identification with camera-based batch normalization", who train that way as well). The
    training's statistics count like 128 further images of the camera, as in Schneider et al. 2020, "Improving robustness
    against common corruptions by covariate shift adaptation".

    Args:
        places: camera -> its row in the tables, from 1 on; row 0 is the training's statistics.
        tables: layer -> (cameras + 1, C) factors and shifts of its input: with them the layer's own statistics act as the
            camera's.
    """

    def __init__(self, places: Mapping[int, int], tables: Mapping[nn.Module, tuple[Tensor, Tensor]]) -> None:
        self._tables = dict(tables)
        self._codes = torch.tensor(sorted(places), dtype=torch.int64)
        self._rows = torch.tensor([0, *(places[code] for code in sorted(places))], dtype=torch.int64)

    @classmethod
    @torch.no_grad()
    def measure(cls, network: nn.Module, images: Mapping[int, Iterable[Tensor]]) -> "CameraStatistics":
        """Take the statistics of some images of each camera.

        A batch passes the network normalized by its own statistics, layer by layer; a camera's are those of all its batches.

        Args:
            network: In evaluation mode; it is left as it was.
            images: camera -> batches (B, 3, H, W), as the network takes them.

        Raises:
            InputError: The network has no batch normalization with statistics, or there are no cameras.
        """
        if not images:
            raise InputError(
                "camera statistics need images of known cameras, and there are none; leave camera_statistics out"
            )
        layers = require_layers(network)
        rows: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in layers}
        places = {}
        for place, (camera, batches) in enumerate(sorted(images.items()), start=1):
            places[camera] = place
            seen = _Seen(layers)
            with seen.normalizing():
                for batch in batches:
                    seen.images = len(batch)
                    network(batch)
            for layer in layers:
                rows[layer].append(seen.affine(layer))
        tables: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        for normalization, found in rows.items():
            same = torch.ones_like(found[0][0]), torch.zeros_like(found[0][1])
            factors, shifts = zip(same, *found, strict=True)
            tables[normalization] = torch.stack(factors), torch.stack(shifts)
        return cls(places, tables)

    @contextmanager
    def applied(self, cameras: Tensor) -> Iterator[None]:
        """Normalize every image that passes the network by its camera's statistics: a batch, its mirror images, other sizes.

        A compiled network runs uncompiled meanwhile, since its graphs do not see hooks that are added later.

        Args:
            cameras: (B,) codes; images of cameras that were not measured are normalized as in the training.
        """
        codes = self._codes.to(cameras.device)
        at = torch.searchsorted(codes, cameras.contiguous()).clamp(max=len(codes) - 1)
        rows = torch.where(codes[at] == cameras, self._rows.to(cameras.device)[at + 1], 0)

        def shift(layer: nn.Module, inputs: tuple[Tensor]) -> Tensor:
            x = inputs[0]
            if len(x) != len(rows):
                return x  # not an input for each image, in measuring likewise
            factors, shifts = (table[rows].to(x.dtype) for table in self._tables[layer])
            shape = (len(x), -1, *[1] * (x.ndim - 2))
            return torch.addcmul(shifts.view(shape), x, factors.view(shape))

        with ExitStack() as stack, torch.compiler.set_stance("force_eager"):
            for layer in self._tables:
                stack.callback(layer.register_forward_pre_hook(shift).remove)
            yield


def require_layers(network: nn.Module) -> list[BatchNorm]:
    """Return the batch normalizations of a network that have statistics.

    Raises:
        InputError: There are none.
    """
    layers = [
        layer
        for layer in network.modules()
        if isinstance(layer, BatchNorm) and layer.running_mean is not None
    ]
    if not layers:
        raise InputError(
            "camera statistics need batch normalization, and this network has none; leave camera_statistics out"
        )
    return layers


class _Seen:
    """What the batch normalizations of a network have seen of one camera."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        self.images = 0  # of the batch that is passing
        self._sums: dict[nn.Module, Tensor] = {}  # images, and sums of mean and of mean square, (3, C)
        self._layers = list(layers)

    @contextmanager
    def normalizing(self) -> Iterator[None]:
        with ExitStack() as stack, torch.compiler.set_stance("force_eager"):
            for layer in self._layers:
                stack.callback(layer.register_forward_pre_hook(self._pass).remove)
            yield

    def _pass(self, layer: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        x = inputs[0]
        if len(x) != self.images:
            return x
        others = [0, *range(2, x.ndim)]
        wide = promote(x)
        mean, square = wide.mean(others), (wide**2).mean(others)
        found = len(x) * torch.stack([torch.ones_like(mean), mean, square])
        self._sums[layer] = self._sums[layer] + found if layer in self._sums else found
        factor, shift = _affine(layer, mean, (square - mean**2).clamp(min=0))
        shape = (1, -1, *[1] * (x.ndim - 2))
        return x * factor.to(x.dtype).view(shape) + shift.to(x.dtype).view(shape)

    def affine(self, layer: nn.Module) -> tuple[Tensor, Tensor]:
        """Return the factors and shifts, (C,) each, of a layer's input."""
        assert isinstance(layer, BatchNorm)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        if layer not in self._sums:
            return torch.ones_like(layer.running_mean), torch.zeros_like(layer.running_mean)
        count, total, squares = self._sums[layer]
        mean = total / count
        variance = (squares / count - mean**2).clamp(min=0)
        own = count / (count + PRIOR)
        return _affine(
            layer,
            own * mean + (1 - own) * layer.running_mean,
            own * variance + (1 - own) * layer.running_var,
        )


def _affine(layer: nn.Module, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return what an input is multiplied by and moved by, so that a layer with its own statistics normalizes by these."""
    assert isinstance(layer, BatchNorm)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    factor = ((layer.running_var + layer.eps) / (variance + layer.eps)).sqrt()
    return factor, layer.running_mean - mean * factor
