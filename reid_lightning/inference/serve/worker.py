"""The model behind one thread: pictures of all requests are embedded in batches."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reid_lightning.data.decoding import resized
from reid_lightning.errors import InputError
from reid_lightning.inference.model import Model
from reid_lightning.inference.serve.batching import Batcher
from reid_lightning.inference.serve.problems import Problem
from reid_lightning.inference.serve.settings import Settings
from reid_lightning.inference.serve.uploads import Pixels


class Embedded(NamedTuple):
    """A picture as the model sees it."""

    vector: Tensor
    """(D,) float32."""
    looks: Tensor | None
    """(C,) probabilities of the attributes' classes; None where the model answers none."""


class Worker:
    """A trained model that many requests share.

    Args:
        model: It is used by one thread at a time.
        settings: Size of a batch, and how long its first picture waits.
        seen: Called with the size of every batch.
    """

    def __init__(
        self, model: Model, settings: Settings, seen: Callable[[int], None] = lambda size: None
    ) -> None:
        self.model = model
        self._size, self._filter = model.preprocessing.image_size, model.preprocessing.interpolation
        black = np.zeros((*self._size, 3), np.uint8)
        model.embed_with_attributes([black])  # what is built on the first picture
        self.describes = _describes(model, black)
        self._batches: Batcher[tuple[bool, Pixels], Any] = Batcher(
            "model", self._work, settings.batch, settings.wait, seen
        )

    def ready(self, pixels: Pixels) -> Pixels:
        """Return a picture in the model's size, which is all that waits in the queue."""
        return resized(pixels, self._size, self._filter)

    async def embed(self, ready: Pixels) -> Embedded:
        """Return the vector and the attributes of a picture in the model's size.

        Raises:
            Problem: The vector is not finite.
        """
        found: Embedded = await self._batches((False, ready))
        return found

    async def describe(self, ready: Pixels) -> dict[str, Any]:
        """Return what `Description.rows` says of a picture in the model's size."""
        found: dict[str, Any] = await self._batches((True, ready))
        return found

    def close(self) -> None:
        """Finish what waits, and end the thread."""
        self._batches.close()

    def _work(self, items: Sequence[tuple[bool, Pixels]]) -> list[Any]:
        answers: list[Any] = [None] * len(items)
        for described, work in ((False, self._embed), (True, self._describe)):
            places = [place for place, item in enumerate(items) if item[0] == described]
            if places:
                results = work([items[place][1] for place in places])
                for place, result in zip(places, results, strict=True):
                    answers[place] = result
        return answers

    def _embed(self, pictures: list[Pixels]) -> list[Embedded | Exception]:
        vectors, looks = self.model.embed_with_attributes(pictures)
        finite = torch.isfinite(vectors).all(dim=1).tolist()
        return [
            Embedded(vector, None if looks is None else looks[row])
            if finite[row]
            else Problem(500, "The model gives numbers that are not finite: it has diverged; train it again.")
            for row, vector in enumerate(vectors)
        ]

    def _describe(self, pictures: list[Pixels]) -> list[dict[str, Any]]:
        return self.model.describe(pictures).rows()


def _describes(model: Model, black: Pixels) -> bool:
    try:
        model.describe([black])
    except InputError:
        return False
    return True
