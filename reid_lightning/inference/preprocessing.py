"""How a model turns an image into what its network takes, as one value that says so itself."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Preprocessing:
    """How images come into a network.

    Images are resized without keeping their aspect ratio; pixels in [0, 1] are normalized.

    Attributes:
        image_size: Height and width in pixels.
        mean: Subtracted from pixels in [0, 1], one number per channel, red first.
        std: Divided by afterwards.
        interpolation: How an image is resized, one of `reid_lightning.data.decoding.FILTERS`.
        transform: Config of a custom transform between the two, plain containers; None if there is none.
        channels: Order of the network's channels.

    Examples:
        >>> print(Preprocessing((256, 128), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic"))
        RGB; 256x128 pixels; mean 0.485 0.456 0.406, std 0.229 0.224 0.225; bicubic
    """

    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    transform: Mapping[str, Any] | None = None
    channels: str = "RGB"

    def __str__(self) -> str:
        return f"{self.channels}; {self.line()}"

    def line(self, vectors: str | None = None) -> str:
        """Return one line that two models share only if they treat images alike.

        Args:
            vectors: How vectors are taken from the network's features, such as "embedding, L2-normalized"; it is put in.
        """
        height, width = self.image_size
        numbers = ", ".join(
            f"{name} {' '.join(f'{value:.6g}' for value in values)}"
            for name, values in (("mean", self.mean), ("std", self.std))
        )
        parts = [f"{height}x{width} pixels", numbers, self.interpolation]
        parts += [] if vectors is None else [vectors]
        parts += [] if self.transform is None else [f"transform {self.transform}"]
        return "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON holds them."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Preprocessing":
        """Return what `as_dict` has written."""
        height, width = content["image_size"]
        return cls(
            (int(height), int(width)),
            tuple(map(float, content["mean"])),
            tuple(map(float, content["std"])),
            str(content["interpolation"]),
            content.get("transform"),
            str(content.get("channels", "RGB")),
        )
