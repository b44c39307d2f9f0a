"""Heat maps of joints: what a part branch learns, and where its maps say that the joints are.

Positions are (column, row) as fractions of width and height, so that one position holds for an image and its map.
"""

import torch
from torch import Tensor
from torch.nn import functional


def heat_maps(positions: Tensor, shown: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """Return a bell around each joint, 1 at its center; nothing where a joint is not shown.

    Args:
        positions: (B, J, 2).
        shown: (B, J) bool.
        size: Height and width of the maps in cells.
        sigma: Standard deviation in cells.

    Returns:
        (B, J, height, width) in [0, 1].

    Examples:
        >>> maps = heat_maps(torch.tensor([[[0.5, 0.5]]]), torch.tensor([[True]]), (3, 3), sigma=0.5)
        >>> [f"{value:.2f}" for value in maps[0, 0, 1]]
        ['0.14', '1.00', '0.14']
    """
    columns, rows = (
        torch.exp(-0.5 * ((torch.arange(cells).to(place) + 0.5 - place[..., None] * cells) / sigma) ** 2)
        for cells, place in ((size[1], positions[..., 0]), (size[0], positions[..., 1]))
    )
    return rows[..., :, None] * columns[..., None, :] * shown[..., None, None]


def peaks(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return where each map is highest once it is resized to the image.

    Between the cells of a coarse map the bicubic curve through them has its own peak, so that a joint is found more
    finely than a cell.

    Args:
        maps: (B, J, h, w) logits or probabilities.
        size: Height and width of the image in pixels.

    Returns:
        (B, J, 2) positions.

    Examples:
        >>> maps = torch.zeros(1, 1, 4, 2)
        >>> maps[0, 0, 1, 0] = 1.0
        >>> peaks(maps, (8, 4)).mul(torch.tensor([4, 8])).tolist()
        [[[0.5, 2.5]]]
    """
    resized = functional.interpolate(maps.float(), size=size, mode="bicubic", align_corners=False)
    best = resized.flatten(2).argmax(dim=2)
    columns, rows = best % size[1], best // size[1]
    return torch.stack([(columns + 0.5) / size[1], (rows + 0.5) / size[0]], dim=2)


def correct_key_points(
    found: Tensor, positions: Tensor, in_sight: Tensor, aspect: float, within: float
) -> float:
    """Return PCK: the share of the joints in sight that are found within a part of the box' height.

    Yang and Ramanan 2013 ("Articulated Human Detection ...", Sec. 6); a person's box is the image.

    Args:
        found: (N, J, 2) positions.
        positions: (N, J, 2) true ones.
        in_sight: (N, J) bool: those that count.
        aspect: Width of the image over its height.
        within: Largest distance, as a fraction of the height.

    Returns:
        A fraction; NaN where no joint is in sight.
    """
    scale = torch.tensor([aspect, 1.0], dtype=positions.dtype, device=positions.device)
    distances = torch.linalg.vector_norm((found - positions) * scale, dim=-1)
    return (distances <= within)[in_sight].float().mean().item()
