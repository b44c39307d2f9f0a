"""What a network may have beside its trunk: the types of its branches, which systems fill in."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from reid_lightning.models.backbone import Backbone, Encoded


class Branch(nn.Module):
    """A part of the network that adds a field to `Features.extra`.

    Attributes:
        gives: Name of the field; None adds none.
        needs_loss: Whether only a loss that reads this field trains the branch.
    """

    gives: ClassVar[str | None] = None
    needs_loss: ClassVar[bool] = False


class Parts(Branch):
    """A branch that sees the images and what the backbone makes of them.

    A subclass that needs the map alone computes `forward`; one that needs more, `of_encoded`.

    Attributes:
        local_shape: (S, d) of the features that it gives; None without any.
        pooled_features: Dimensions of the vector that it gives in place of the pooling's; None where pooling stays.
        reads_token: Whether it needs the class token, or what comes before it.
    """

    reads_token: ClassVar[bool] = False
    local_shape: tuple[int, int] | None = None
    pooled_features: int | None = None

    def forward(self, images: Tensor, maps: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the (B, pooled_features) vector and the (B, S, d) local features, or None for either.

        Args:
            images: (B, 3, H, W) normalized.
            maps: (B, C, h, w) of the backbone.
        """
        raise NotImplementedError

    def of_encoded(self, images: Tensor, encoded: Encoded) -> tuple[Tensor | None, Tensor | None]:
        """Return what `forward` does, of (B, 3, H, W) normalized images and all that the backbone makes of them."""
        return self(images, encoded.map)

    def adopt(self, backbone: nn.Module) -> None:
        """Take over what it needs of the backbone that it is put beside, once, when the network is built.

        Raises:
            InputError: It is not a backbone that it can be put beside.
        """


class VectorHeads(Branch):
    """A branch on the neck's classifier vector.

    Attributes:
        added_features: Dimensions that it adds to what is classified and compared; 0 for none.
    """

    added_features: int = 0

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return (B, C) outputs of (B, D) vectors, and the (B, added_features) scores that join these; None for none."""
        raise NotImplementedError


class Descriptor(Branch):
    """A branch that takes maps of the backbone itself, outside of training."""

    def forward(self, backbone: Backbone, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the backbone's last (B, C, h, w) map and the (B, D) descriptor of (B, 3, H, W) normalized images."""
        raise NotImplementedError


def cell_means(length: int, cells: int) -> Tensor:
    """Return the (cells, length) matrix that averages over each of the cells that a line of positions is cut into.

    Cells cover all positions; one that lies in two of them counts in both (adaptive average pooling).

    Examples:
        >>> cell_means(3, 2)
        tensor([[0.5000, 0.5000, 0.0000],
                [0.0000, 0.5000, 0.5000]])
    """
    position, cell = torch.arange(length), torch.arange(cells)[:, None]
    first, end = cell * length // cells, -(-(cell + 1) * length // cells)
    inside = ((position >= first) & (position < end)).float()
    return inside / inside.sum(dim=1, keepdim=True)
