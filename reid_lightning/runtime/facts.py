"""What an exported file says of itself: how images come in, what comes out, and which training it is of."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from reid_lightning.data.decoding import FILTERS
from reid_lightning.errors import InputError

KEY = "reid_lightning"  # of the file's metadata
FORMAT = 1
FORMATS = ("onnx", "openvino", "torch_export")
INPUT = "images"
EMBEDDING, ATTRIBUTES, TRAITS = "embedding", "attributes", "traits"
PREPROCESS = ("inside", "outside")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DISTANCES = ("cosine", "euclidean", "sqeuclidean")
LARGEST = 64_000_000  # characters
_LARGEST_SIDE, _LARGEST_WIDTH = 10_000, 1_000_000


@dataclass(frozen=True)
class ExportFacts:
    """The metadata of an exported file; JSON beside the file holds the same.

    Attributes:
        format: "onnx", "openvino" or "torch_export".
        precision: "float32" or "int8".
        opset: Of ONNX; None of other formats.
        image_size: Height and width in pixels.
        preprocess: "inside": the input is uint8 RGB of 0 to 255, and the file normalizes it; "outside": it is float32 RGB,
            normalized by ImageNet's mean and deviation.
        mean: Of the network's own normalization of pixels in [0, 1], red first.
        std: Its deviation.
        interpolation: How an image is resized to `image_size`: "area", or a filter of Pillow.
        transform: Config of a custom transform before that; None if there is none.
        outputs: Width of each output: "embedding", and where asked for "attributes" and "traits".
        distance: How vectors are compared.
        protocol: How they are taken, in one line.
        attributes: Classes of each attribute, in the order of the output: probabilities, classes one after the other.
        traits: Names of the traits, in the order of the output.
        thresholds: Largest distance of one person, by the share of pairs of two people that it accepts.
        fingerprint: Equal for models whose vectors may be compared: SHA-256 of the weights, and what int8 does to them.
        verified: What was measured when the file was written.
        source: The training: version, checkpoint, data, command.
        model: What `reid_lightning.load` builds a `Model` with, besides the network.
    """

    format: str
    precision: str
    opset: int | None
    image_size: tuple[int, int]
    preprocess: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    outputs: dict[str, int]
    distance: str
    protocol: str
    fingerprint: str
    transform: dict[str, Any] | None = None
    attributes: dict[str, list[str]] = field(default_factory=dict)
    traits: list[str] = field(default_factory=list)
    thresholds: dict[str, float] = field(default_factory=dict)
    verified: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> str:
        """Return the text that goes into the file and beside it."""
        said = {
            "library": "reid-lightning",
            "export": FORMAT,
            "input": {
                "name": INPUT,
                "type": "uint8" if self.preprocess == "inside" else "float32",
                "layout": "NCHW",
                "channels": "RGB",
                "values": "0 to 255"
                if self.preprocess == "inside"
                else f"pixels in [0, 1], less {list(IMAGENET_MEAN)}, divided by {list(IMAGENET_STD)}",
            },
            **asdict(self),
        }
        return json.dumps(said, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | None, name: object) -> "ExportFacts":
        """Return the facts of a file, which anybody may have written.

        Args:
            text: Its metadata; None where it has none.
            name: What messages call the file.

        Raises:
            InputError: They are missing, damaged or of a newer version.
        """
        again = "export the model again with `reid export`"
        if not text:
            raise InputError(f"{name} was not written by `reid export`: it does not say how images come in")
        try:
            if len(text) > LARGEST:
                raise ValueError("it is too long")
            content = json.loads(text)
            if not isinstance(content, dict) or content.get("library") != "reid-lightning":
                raise ValueError("it is not of reid-lightning")
            if content.get("export") != FORMAT:
                raise ValueError(
                    f"its format is {str(content.get('export'))[:20]}, and this version reads {FORMAT}"
                )
            return _facts(cls, content)
        except (ValueError, RecursionError, TypeError, OverflowError) as error:
            raise InputError(f"the metadata of {name} cannot be used ({str(error)[:200]}): {again}") from None


def _facts(kind: type[ExportFacts], content: Mapping[str, Any]) -> ExportFacts:
    known = {one.name: content[one.name] for one in fields(kind) if one.name in content}
    missing = {
        "format",
        "precision",
        "image_size",
        "preprocess",
        "mean",
        "std",
        "interpolation",
        "outputs",
    } - known.keys()
    if missing:
        raise ValueError(f"it does not say {min(missing)}")
    for name, choices in (
        ("format", FORMATS),
        ("precision", ("float32", "int8")),
        ("preprocess", PREPROCESS),
        ("distance", DISTANCES),
        ("interpolation", FILTERS),
    ):
        if known.get(name) not in choices:
            raise ValueError(f"its {name} is not one of {', '.join(choices)}")
    for name in ("protocol", "fingerprint"):
        if not isinstance(known.get(name), str):
            raise ValueError(f"its {name} is not text")
    for name in ("verified", "source", "model", "thresholds", "attributes"):
        if not isinstance(known.get(name, {}), dict):
            raise ValueError(f"its {name} is not an object")
    size = known["image_size"]
    if not _numbers(size, 2, int) or not all(0 < side <= _LARGEST_SIDE for side in size):
        raise ValueError("its image_size is not a height and a width in pixels")
    for name in ("mean", "std"):
        if not _numbers(known[name], 3, (int, float)) or (name == "std" and min(known[name]) <= 0):
            raise ValueError(f"its {name} is not three numbers, one per channel")
    widths = known["outputs"]
    if (
        not isinstance(widths, dict)
        or not widths.keys() <= {EMBEDDING, ATTRIBUTES, TRAITS}
        or EMBEDDING not in widths
    ):
        raise ValueError("its outputs are not known")
    if not all(type(width) is int and 0 < width <= _LARGEST_WIDTH for width in widths.values()):
        raise ValueError("the width of an output is not a number of columns")
    _check_names(known, widths)
    numbers = known.get("thresholds", {}).values()
    if not all(type(number) in (int, float) and abs(number) < 1e12 for number in numbers):
        raise ValueError("a threshold is not a number")
    transform = known.get("transform")
    if transform is not None and not isinstance(transform, dict):
        raise ValueError("its transform is not an object")
    if known.get("opset") is not None and type(known["opset"]) is not int:
        raise ValueError("its opset is not a number")
    plain = {"opset": None} | known
    return kind(**plain | {name: tuple(known[name]) for name in ("image_size", "mean", "std")})


def _check_names(known: Mapping[str, Any], widths: Mapping[str, int]) -> None:
    attributes, traits = known.get("attributes", {}), known.get("traits", [])
    if not all(
        isinstance(one, list) and one and all(isinstance(name, str) for name in one)
        for one in attributes.values()
    ):
        raise ValueError("the classes of an attribute are not a list of names")
    if not isinstance(traits, list) or not all(isinstance(name, str) for name in traits):
        raise ValueError("its traits are not a list of names")
    stated = {ATTRIBUTES: sum(map(len, attributes.values())), TRAITS: len(traits)}
    for name, count in stated.items():
        if widths.get(name, 0) != count:
            raise ValueError(f"its output {name} has {widths.get(name, 0)} columns, and {count} names")


def _numbers(values: Any, count: int, kinds: Any) -> bool:
    allowed = kinds if isinstance(kinds, tuple) else (kinds,)
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(value) in allowed and abs(value) < 1e6 for value in values)
    )
