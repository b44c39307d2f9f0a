"""How a network wants its images: what pixels are normalized by, and how files are resized.

Pretrained networks differ in both. A network that is fed otherwise than in its training loses accuracy and says nothing.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from reid_lightning.files import read_own

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
#: `area` averages the pixels of an area when it shrinks and is bilinear when it enlarges; the others are Pillow's filters.
INTERPOLATIONS = ("area", "nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
_LARGEST = 1e4  # of a mean or deviation of pixels in [0, 1]
_SMALLEST = 1e-4  # of a deviation; far smaller ones are 0 in single precision
_LONGEST, _LARGEST_SIDE = 300, 10_000

_Built = TypeVar("_Built", bound=Callable[..., Any])


@dataclass(frozen=True)
class Feed:
    """How images come into a network; two feeds are equal if they do the same to an image.

    The normalization stands in front of the network and is not folded into its first layer, whose zero padding means the
    mean of the training's pixels.

    Args:
        mean: Subtracted from pixels in [0, 1], one number per channel, red first.
        std: Divided by afterwards.
        interpolation: How an image file is resized, one of `INTERPOLATIONS`.
        source: Who says so.
        size: Height and width in pixels that the source evaluates with. Reported, not applied.
        crop_pct: Share of the resized image that the source cuts out of its center. Reported, not applied: a person's
            box has nothing to cut off.

    Raises:
        ValueError: A value cannot be used.

    Examples:
        >>> print(Feed())
        mean .485 .456 .406, deviation .229 .224 .225, area interpolation (default)
        >>> print(Feed(HALF, HALF, "bicubic", "timm, vit_x", (224, 224), 0.9))
        mean .5, deviation .5, bicubic interpolation (timm, vit_x, which evaluates at 224x224 with 90 % of the image)
        >>> Feed().is_plain, Feed(source="torchvision") == Feed()
        (True, True)
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "area"
    source: str = field(default="default", compare=False)
    size: tuple[int, int] | None = field(default=None, compare=False)
    crop_pct: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            object.__setattr__(self, name, _three_numbers(name, getattr(self, name)))
        if min(self.std) < _SMALLEST:
            raise ValueError(f"std must be above 0, {_SMALLEST:g} at least, got {list(self.std)}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {_short(self.interpolation)}"
            )
        if not isinstance(self.source, str) or len(self.source) > _LONGEST or not self.source.isprintable():
            raise ValueError(f"source must be a line of text, got {_short(self.source)}")
        if self.size is not None:
            object.__setattr__(self, "size", _two_sides(self.size))
        crop = self.crop_pct
        if crop is not None and (not _is_number(crop) or not 0 < crop <= 2):
            raise ValueError(f"crop_pct must be a share of the image, got {_short(crop)}")

    @property
    def is_plain(self) -> bool:
        """Whether it is that of a network trained from scratch."""
        return self == PLAIN

    def __str__(self) -> str:
        told = self.source
        if self.size is not None:
            told += f", which evaluates at {self.size[0]}x{self.size[1]}"
            if self.crop_pct is not None and self.crop_pct < 1:
                told += f" with {100 * self.crop_pct:.3g} % of the image"
        return f"{self.in_short()} ({told})"

    def in_short(self) -> str:
        """Return what it does to an image, in a few words."""
        return (
            f"mean {_written(self.mean)}, deviation {_written(self.std)}, {self.interpolation} interpolation"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and text, as a checkpoint keeps them."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, content: Any) -> "Feed":
        """Return the feed that `as_dict` described.

        Raises:
            ValueError: It is malformed.
        """
        names = {one.name for one in fields(cls)}
        if not isinstance(content, Mapping) or not content.keys() <= names:
            raise ValueError(f"a feed must be a mapping of {', '.join(sorted(names))}, got {_short(content)}")
        if missing := sorted({"mean", "std", "interpolation"} - content.keys()):
            raise ValueError(f"a feed must have {missing[0]}")
        return cls(**content)

    def with_settings(self, settings: Mapping[str, Any]) -> "Feed":
        """Return the feed with what a config sets in its place.

        Args:
            settings: `mean`, `std` and `interpolation`; null, or absent, leaves the feed's own.

        Raises:
            ValueError: A value cannot be used.
        """
        if unknown := sorted(settings.keys() - {"mean", "std", "interpolation"}):
            raise ValueError(f"{unknown[0]} must be left out: a feed has mean, std and interpolation")
        changed = replace(self, **{name: value for name, value in settings.items() if value is not None})
        return (
            self if changed == self else replace(changed, source="the setting feed", size=None, crop_pct=None)
        )


def fed_by(derive: Callable[..., Feed]) -> Callable[[_Built], _Built]:
    """Say how the feed of a backbone follows from its arguments, without building it.

    Args:
        derive: Called with those arguments of the config's node that it names.
    """

    def declared(target: _Built) -> _Built:
        target.__fed_by__ = derive  # type: ignore[attr-defined]
        return target

    return declared


def feed_of(target: Any, arguments: Mapping[str, Any]) -> Feed:
    """Return the feed of the backbone that a class or function would build.

    Args:
        target: A backbone's class or function; one that declares nothing (`fed_by`) is fed as from scratch.
        arguments: Its arguments.
    """
    derive = getattr(target, "__fed_by__", None)
    if derive is None:
        return PLAIN
    names = derive.__code__.co_varnames[: derive.__code__.co_argcount]
    return derive(**{name: value for name, value in arguments.items() if name in names})


def of_timm(config: Any, name: str) -> Feed:
    """Return the feed that a pretrained configuration of timm states.

    Args:
        config: timm's `PretrainedCfg`, or the mapping `pretrained_cfg` of a `config.json`.
        name: What the model is called.

    Raises:
        ValueError: A value cannot be used.
    """
    stated = config if isinstance(config, Mapping) else vars(config)
    size = stated.get("test_input_size") or stated.get("input_size")
    return Feed(
        stated.get("mean") or IMAGENET_MEAN,
        stated.get("std") or IMAGENET_STD,
        stated.get("interpolation") or "bilinear",
        f"timm, {name}",
        tuple(size[-2:]) if size else None,
        stated.get("test_crop_pct") or stated.get("crop_pct"),
    )


def of_torchvision(weights: Any) -> Feed:
    """Return the feed that the transforms of torchvision's weights state, such as `ResNet50_Weights.IMAGENET1K_V1`."""
    preset = weights.transforms()
    (side,), (whole,) = preset.crop_size, preset.resize_size
    said = f"torchvision, {weights}"
    return Feed(
        tuple(preset.mean), tuple(preset.std), preset.interpolation.value, said, (side, side), side / whole
    )


def beside(file: Path) -> Feed | None:
    """Return the feed that `config.json` beside a file of weights states, timm's or of a saved model; None without one.

    Raises:
        ValueError: It states one that cannot be used.
    """
    config = file.with_name("config.json")
    try:
        if file.suffix != ".safetensors":
            return None
        content = json.loads(read_own(config, 1_000_000))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    if content.get("library") == "reid-lightning":
        return stated_in(content)
    stated = content.get("pretrained_cfg")
    return of_timm(stated, str(content.get("architecture"))) if isinstance(stated, dict) else None


def stated_in(entry: Any) -> Feed | None:
    """Return the feed in the entry of a checkpoint of this project; None where it has none.

    Raises:
        ValueError: It cannot be used.
    """
    config = entry.get("config") if isinstance(entry, Mapping) else None
    feed = config.get("feed") if isinstance(config, Mapping) else None
    return None if feed is None else Feed.from_dict(feed)


def _three_numbers(name: str, values: Any) -> tuple[float, ...]:
    if not isinstance(values, Sequence) or len(values) != 3 or not all(map(_is_number, values)):
        raise ValueError(f"{name} must be three numbers, one per channel, got {_short(values)}")
    if max(map(abs, values)) > _LARGEST:
        raise ValueError(f"{name} must be of pixels in [0, 1], got {_short(values)}")
    return tuple(map(float, values))


def _two_sides(value: Any) -> tuple[int, int]:
    is_pair = isinstance(value, Sequence) and len(value) == 2
    if not is_pair or not all(type(side) is int and 0 < side <= _LARGEST_SIDE for side in value):
        raise ValueError(f"size must be a height and a width in pixels, got {_short(value)}")
    return value[0], value[1]


def _is_number(value: Any) -> bool:
    """Return whether a value is a finite number; a whole number that no float can hold is none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _written(values: Sequence[float]) -> str:
    """Write three numbers as one where they are the same."""
    shown = list(dict.fromkeys(values)) if len(set(values)) == 1 else values
    return " ".join(
        f"{value:.3g}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3g}" for value in shown
    )


PLAIN = Feed()
"""Of a network that is trained from scratch."""
