"""From images of any kind to batches that a network takes."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from reid_lightning.arguments import shown
from reid_lightning.config.resolve import instantiate
from reid_lightning.data.decoding import resized
from reid_lightning.errors import InputError
from reid_lightning.inference.images import (
    AnyImage,
    Channels,
    Images,
    as_array,
    chunks,
    in_range,
    of_one_type,
    one_by_one,
)
from reid_lightning.inference.preprocessing import Preprocessing


class ImageReader:
    """Reads images in threads, while the network works on those before them.

    Args:
        preprocessing: Size, interpolation and transform of the images.
        device: Where batches are brought.
    """

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self._preprocessing, self._device = preprocessing, device
        self._transform = instantiate(preprocessing.transform)

    def pixels(self, image: AnyImage, channels: Channels = "rgb") -> Tensor:
        """Return an image as the network takes it; see `Model.pixels`."""
        size = self._preprocessing.image_size
        if isinstance(image, Tensor) and image.is_floating_point():
            if image.shape != (3, *size):
                raise ValueError(
                    f"a float tensor must have the model's size, {(3, *size)}, got {tuple(image.shape)}; give "
                    "uint8 for images of any size"
                )
            image = in_range(image.detach().cpu())
            return image if channels == "rgb" else image.flip(0)
        array = resized(as_array(image, channels), size, self._preprocessing.interpolation)
        if self._transform is not None:
            array = self._transform(image=array)["image"]
        return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)

    def batches(
        self,
        images: Images,
        batch_size: int,
        channels: Channels = "rgb",
        damaged: dict[int, str] | None = None,
    ) -> Iterator[list[Tensor]]:
        """Yield images in their order, on the device: batches of one type that were one batch.

        Args:
            images: As of `Model.embed`, like what follows.
            batch_size: Images of a batch.
            channels: Order of the channels of arrays and tensors.
            damaged: As of `Model.stream`.

        Raises:
            InputError: A file is missing or cannot be decoded.
            ValueError: A value is not an image, or an argument is of another type.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size must be a whole number, 1 or more, got {shown(batch_size)}")
        if damaged is not None and not isinstance(damaged, dict):
            raise ValueError(
                f"damaged must be a dictionary, which gets what cannot be read, got {shown(damaged)}"
            )
        waiting: list[Future[Tensor]] = []
        position = 0
        with ThreadPoolExecutor() as pool:
            for chunk in chunks(one_by_one(images), batch_size):
                following = [pool.submit(self.pixels, image, channels) for image in chunk]
                if waiting:
                    yield self._on_device(waiting, position, damaged)
                    position += len(waiting)
                waiting = following
            if waiting:
                yield self._on_device(waiting, position, damaged)

    def _on_device(
        self, waiting: list[Future[Tensor]], position: int, damaged: dict[int, str] | None
    ) -> list[Tensor]:
        pixels = []
        for place, future in enumerate(waiting, start=position):
            try:
                pixels.append(future.result())
            except InputError as error:
                if damaged is None:
                    raise
                damaged[place] = str(error)
        return [batch.to(self._device) for batch in of_one_type(pixels)]
