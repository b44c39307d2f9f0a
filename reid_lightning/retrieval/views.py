"""The forms of an image whose features are averaged: its mirror image, and other sizes."""

from collections.abc import Iterator, Sequence

from torch import Tensor


def views(images: Tensor, flip: bool, scales: Sequence[float]) -> Iterator[Tensor]:
    """Yield images at each scale, and after each of them its mirror image.

    At scale 1 the tensor itself is yielded, so that its features need not be computed again. Other sizes are
    interpolated (bilinear, with anti-aliasing) from the images as the network takes them, not from the files.

    Args:
        images: (B, 3, H, W), uint8 or floating.
        flip: Whether mirror images count.
        scales: Shares of height and width; sides are rounded to whole pixels.

    Examples:
        >>> import torch
        >>> [tuple(view.shape[2:]) for view in views(torch.zeros(1, 3, 8, 4), True, [1.0, 1.5])]
        [(8, 4), (8, 4), (12, 6), (12, 6)]
    """
    height, width = images.shape[-2:]
    for scale in scales:
        size = [max(1, round(height * scale)), max(1, round(width * scale))]
        scaled = images if size == [height, width] else _resized(images, size)
        yield scaled
        if flip:
            yield scaled.flip(-1)


def _resized(images: Tensor, size: list[int]) -> Tensor:
    from torchvision.transforms.v2.functional import resize  # a second of imports, for other scales alone

    resized: Tensor = resize(images, size, antialias=True)
    return resized
