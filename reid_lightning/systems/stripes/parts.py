"""Features of horizontal stripes of the map."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.errors import require
from reid_lightning.models.branches import Parts, cell_means


class Stripes(Parts):
    """Features of horizontal stripes: the mean of each, reduced (Sun et al. 2018, "PCB", Sec. 3.1).

    Args:
        in_features: Channels C of the map.
        stripes: S, from top to bottom. A map of fewer rows gives a row to several of them.
        size: Dimensions d of a stripe's feature; None takes C / S, so that together they are as long as a pooled vector.
        shared: One reduction for all stripes (AlignedReID, so that they can be compared with each other) or one for each
            (PCB).
        normalize: Scale each stripe's feature to length 1.

    Examples:
        >>> stripes = Stripes(in_features=32, stripes=4, size=6)
        >>> _, local = stripes(torch.randn(2, 3, 64, 32), torch.randn(2, 32, 8, 4))
        >>> local.shape
        torch.Size([2, 4, 6])
    """

    gives = "stripes"
    needs_loss = True
    local_shape: tuple[int, int]

    def __init__(
        self,
        in_features: int,
        stripes: int = 6,
        size: int | None = 256,
        shared: bool = False,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        require(stripes >= 1, "stripes", ">= 1", stripes)
        require(size is None or size >= 1, "size", ">= 1 or null", size)
        if size is None and in_features % stripes:
            raise ValueError(
                f"stripes must divide the backbone's {in_features} channels unless size is set, got {stripes}"
            )
        self.local_shape = (stripes, size or in_features // stripes)
        self.normalize = normalize
        self.reductions = nn.ModuleList(
            _reduction(in_features, self.local_shape[1]) for _ in range(1 if shared else stripes)
        )

    def forward(self, images: Tensor, maps: Tensor) -> tuple[None, Tensor]:
        """Return no pooled vector, and the (B, S, d) stripe features of (B, C, h, w) maps."""
        pooled = stripe_means(maps, self.local_shape[0])
        if len(self.reductions) == 1:
            local = self.reductions[0](pooled.flatten(0, 1)).unflatten(0, pooled.shape[:2])
        else:
            pairs = zip(self.reductions, pooled.unbind(1), strict=True)
            local = torch.stack([reduce(stripe) for reduce, stripe in pairs], dim=1)
        return None, functional.normalize(local, dim=-1) if self.normalize else local


def _reduction(in_features: int, size: int) -> nn.Module:
    return nn.Sequential(nn.Linear(in_features, size, bias=False), nn.BatchNorm1d(size), nn.ReLU())


def stripe_means(maps: Tensor, stripes: int) -> Tensor:
    """Return the mean of each of the horizontal stripes that (B, C, h, w) maps are cut into, (B, stripes, C).

    Stripes cover all rows; where their number does not divide the rows, neighbors share a row. Half types are averaged
    in float32: a mean has more digits than its terms.

    Examples:
        >>> stripe_means(torch.arange(6.0).view(1, 1, 3, 2), 3).flatten()
        tensor([0.5000, 2.5000, 4.5000])
    """
    half = maps.dtype in (torch.float16, torch.bfloat16)
    rows = maps.mean(3, dtype=torch.float32 if half else maps.dtype)
    with torch.autocast(maps.device.type, enabled=False):
        return cell_means(maps.shape[2], stripes).to(rows) @ rows.mT
