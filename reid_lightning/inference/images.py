"""Images as users have them: paths, encoded bytes, Pillow's images, arrays, tensors, and a frame with boxes."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from reid_lightning.arguments import shown
from reid_lightning.data.boxes import Pixels, corners_of, cut
from reid_lightning.data.decoding import decoded, read_regular
from reid_lightning.errors import InputError

AnyImage = str | os.PathLike[str] | bytes | Image.Image | np.ndarray | Tensor
Images = AnyImage | Iterable[AnyImage]
Channels = Literal["rgb", "bgr"]
BEYOND = 0.5  # of [0, 1] that bicubic resizing may lead to, and normalization does not stay within

_Item = TypeVar("_Item")


def is_single(images: Any) -> bool:
    """Tell whether a value is one image and not several."""
    if isinstance(images, Tensor | np.ndarray):
        return images.ndim != 4
    return isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | Image.Image)


def one_by_one(images: Any) -> Iterator[Any]:
    """Yield images of one image, of a batch (4 dimensions), or of any iterable of both; nothing is read ahead.

    Raises:
        ValueError: It is none of these.
    """
    if is_single(images):
        yield images
    elif isinstance(images, Tensor | np.ndarray):
        yield from images
    elif isinstance(images, Iterable):
        for image in images:
            if isinstance(image, Tensor | np.ndarray) and image.ndim == 4:
                yield from image
            else:
                yield image
    else:
        raise ValueError(_not_an_image(images))


def chunks(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Yield lists of `size` items, the last one shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def as_array(image: Any, channels: Channels = "rgb") -> Pixels:
    """Return an image in its own size as uint8 (H, W, 3), red first.

    Args:
        image: A path, encoded bytes, an image of Pillow, an array (H, W, 3) or a tensor (3, H, W), both uint8.
        channels: Order of the channels of arrays and tensors, "bgr" for those that OpenCV has read.

    Raises:
        InputError: A file or bytes cannot be read or decoded.
        ValueError: It is not an image.
    """
    if not isinstance(channels, str) or channels not in get_args(Channels):
        raise ValueError(f'channels must be "rgb" or "bgr", got {shown(channels)}')
    if isinstance(image, str | os.PathLike):
        path = os.fspath(image)
        return decoded(read_regular(path), path, path)
    if isinstance(image, bytes | bytearray | memoryview):
        return decoded(bytes(image), f"an image of {len(image):,} bytes")
    if isinstance(image, Image.Image):
        image, channels = _of_pillow(image), "rgb"
    if isinstance(image, Tensor):
        image = _on_cpu(image.permute(1, 2, 0) if image.ndim == 3 else image, "an image")
    if not isinstance(image, np.ndarray):
        raise ValueError(_not_an_image(image))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"an image must be uint8 with 3 channels, (H, W, 3) as an array or (3, H, W) as a tensor, got {image.dtype} of "
            f"{image.shape}"
        )
    return np.ascontiguousarray(image[..., ::-1] if channels == "bgr" else image)


def _of_pillow(image: Image.Image) -> Any:
    """Return the pixels of an image of Pillow, whose file may only now be read."""
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):  # of which Pillow would cut off all that is brighter than 255
            return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
        return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        name = getattr(image, "filename", "") or "an image of Pillow"
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"{name} is corrupt or ends too early ({reason}): replace it or remove it."
        ) from error


def _on_cpu(values: Tensor, name: str) -> Any:
    """Return a tensor's numbers as an array."""
    try:
        return values.detach().cpu().numpy()
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"{name} must be a dense tensor that holds numbers, got {values.layout} on {values.device}"
        ) from error


def in_range(image: Tensor) -> Tensor:
    """Return a float tensor, which must hold an image in [0, 1]; resizing may have led it a little beyond.

    Raises:
        ValueError: It is not finite, or holds other numbers, such as pixels up to 255.
    """
    lowest, highest = (float(value) for value in image.aminmax())
    if not (lowest >= -BEYOND and highest <= 1 + BEYOND):  # NaN as well
        raise ValueError(
            f"a float tensor must hold an image in [0, 1], got numbers from {lowest:.4g} to {highest:.4g}: give uint8, or "
            "divide by 255 and leave the normalization to the model"
        )
    return image


def _not_an_image(value: Any) -> str:
    return (
        "an image must be a path, bytes of a file, an image of Pillow, an array or a tensor, got "
        f"{type(value).__name__}"
    )


def crops(frame: Any, boxes: Any, channels: Channels = "rgb") -> tuple[list[Pixels], list[int], int]:
    """Cut boxes out of a frame.

    Corners are rounded to whole pixels and clipped to the frame: a crop is
    `frame[round(y1):round(y2), round(x1):round(x2)]`.

    Args:
        frame: One image, see `as_array`.
        boxes: (N, 4) corners x1, y1, x2, y2 in pixels (a tensor, an array or lists), or an object that has them as `xyxy`.
        channels: As of `as_array`.

    Returns:
        The crops of those boxes that have an area in the frame; the positions of these boxes; and the number of all.

    Raises:
        InputError: A file or bytes cannot be read or decoded.
        ValueError: The frame is not one image, or the boxes are not such corners.
    """
    if not is_single(frame):
        raise ValueError("boxes belong to one frame, and several images were given; call it for each frame")
    corners = as_corners(boxes)
    return *cut(as_array(frame, channels), corners), len(corners)


def as_corners(boxes: Any) -> NDArray[np.float64]:
    """Return boxes as (N, 4) corners x1, y1, x2, y2.

    Raises:
        ValueError: They are something else.
    """
    boxes = getattr(boxes, "xyxy", boxes)
    if isinstance(boxes, Tensor):
        boxes = _on_cpu(boxes if boxes.is_complex() else boxes.double(), "boxes")
    elif isinstance(boxes, list | tuple):
        boxes = [_on_cpu(box.double(), "a box") if isinstance(box, Tensor) else box for box in boxes]
    return corners_of(boxes)


def of_one_type(pixels: list[Tensor]) -> Iterator[Tensor]:
    """Yield batches of images of one type, in their order: the network scales integers itself.

    Args:
        pixels: (3, H, W) each, of one size.

    Returns:
        (B, 3, H, W), laid out with the channels last, as the data module lays them out.
    """
    start = 0
    for end in range(1, len(pixels) + 1):
        if end == len(pixels) or pixels[end].dtype != pixels[start].dtype:
            batch = torch.stack([image.permute(1, 2, 0) for image in pixels[start:end]])
            yield batch.permute(0, 3, 1, 2)
            start = end
