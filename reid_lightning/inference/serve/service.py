"""Model, gallery and limits of a server in one value, on which the routes work."""

import asyncio
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from starlette.datastructures import UploadFile
from torch import Tensor

from reid_lightning.errors import InputError
from reid_lightning.inference.compare import Comparison, compare_vectors
from reid_lightning.inference.gallery.images import preprocessing_line
from reid_lightning.inference.model import Model
from reid_lightning.inference.serve.metrics import Metrics
from reid_lightning.inference.serve.people import Found, People, Question
from reid_lightning.inference.serve.pictures import Kept
from reid_lightning.inference.serve.problems import Problem
from reid_lightning.inference.serve.settings import Settings
from reid_lightning.inference.serve.uploads import Pixels, pixels_of
from reid_lightning.inference.serve.worker import Embedded, Worker
from reid_lightning.retrieval.calibration import FALSE_ACCEPTS

PLACE = 1_000_000  # bytes of a kept picture that take one place
DECODERS = 2  # threads; each may hold one picture of the largest size


class Service:
    """What a server does.

    Args:
        model: What embeds.
        gallery: Folder of the gallery, made with this model.
        settings: The limits.

    Raises:
        InputError: It is not a gallery, or one of another model.
    """

    def __init__(self, model: Model, gallery: Path | str, settings: Settings) -> None:
        self.model, self.settings, self.metrics = model, settings, Metrics()
        self.people = People(
            gallery,
            model.fingerprint,
            preprocessing_line(model),
            settings.read_only,
            self.metrics.batch,
        )
        self.worker = Worker(model, settings, lambda size: self.metrics.batch("model", size))
        self._decoders = ThreadPoolExecutor(DECODERS, "decode")
        self._readers = ThreadPoolExecutor(DECODERS, "read")
        self._at_work = 0
        self.threshold = _threshold(model)

    def more_places(self, picture: Kept | None) -> int:
        """Return how many further places a picture that is kept takes: one for each MB, but never more than there are."""
        size = 0 if picture is None else len(picture.png)
        return min(size // PLACE, self.settings.queue - 1)

    @contextmanager
    def places(self, pictures: int) -> Iterator[None]:
        """Take places in the queue for some pictures.

        Raises:
            Problem: There are not so many.
        """
        if self._at_work + pictures > self.settings.queue:
            raise Problem(503, "Too many pictures wait: try again soon.", retry_after=1)
        self._at_work += pictures
        self.metrics.pictures.set(self._at_work)
        try:
            yield
        finally:
            self._at_work -= pictures
            self.metrics.pictures.set(self._at_work)

    async def opened(self, upload: UploadFile, name: str = "The picture") -> Pixels:
        """Return an uploaded picture in the model's size.

        Raises:
            Problem: As of `uploads.pixels_of`.
        """
        return (await self.decoding(self._opened, upload, name))[1]

    async def opened_to_keep(self, upload: UploadFile) -> tuple[Kept | None, Pixels]:
        """Return an uploaded picture as it is kept, None where none is, and in the model's size.

        Raises:
            Problem: As of `uploads.pixels_of`.
        """

        def work() -> tuple[Kept | None, Pixels]:
            pixels, ready = self._opened(upload, "The picture")
            return Kept.of(pixels) if self.settings.keep_pictures else None, ready

        return await self.decoding(work)

    def _opened(self, upload: UploadFile, name: str) -> tuple[Pixels, Pixels]:
        data = upload.file.read()  # here, so that no more are in memory than there are threads
        pixels = pixels_of(data, self.settings.max_pixels, name)
        return pixels, self.worker.ready(pixels)

    async def embedded(self, upload: UploadFile, name: str = "The picture") -> Embedded:
        """Return an uploaded picture as the model sees it."""
        return await self.worker.embed(await self.opened(upload, name))

    async def decoding(self, work: Any, *arguments: Any) -> Any:
        """Decode or encode pictures in a thread; few at a time, because each may be large."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work, *arguments)

    async def reading(self, work: Any, *arguments: Any) -> Any:
        """Read from the gallery in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work, *arguments)

    async def search(self, question: Question) -> tuple[Found, list[float | None], float | None]:
        """Return what was found, the probability of each, and the threshold; these are of distances of pictures alone."""
        found = await self.people.search(question)
        calibration = self.model.calibration
        if calibration is None or question.like is not None:
            return found, [None] * len(found.rows), None
        distances = np.asarray([row["distance"] for row in found.rows], np.float64)
        return found, calibration.probability(distances).tolist(), self.threshold

    def compare(self, first: Tensor, second: Tensor, false_accepts: float | None, prior: float) -> Comparison:
        """Compare two vectors.

        Raises:
            Problem: The model is not calibrated, or so small a rate was not measured.
        """
        try:
            return compare_vectors(
                first[None],
                second[None],
                self.model.protocol.distance,
                self.model.calibration,
                false_accepts=false_accepts,
                prior=prior,
            ).of_single()
        except InputError as error:
            raise Problem(422, str(error)) from error

    def looks(self, embedded: Embedded) -> dict[str, dict[str, Any]] | None:
        """Return the attributes of a picture by name; None where the model answers none."""
        schema = self.model.schema
        if schema is None or embedded.looks is None:
            return None
        answers = {}
        for attribute, part in zip(schema, schema.slices, strict=True):
            block = embedded.looks[part]
            best = int(block.argmax())
            answers[attribute.name] = {
                "class": attribute.classes[best],
                "confidence": round(float(block[best]), 4),
            }
        return answers

    def close(self) -> None:
        """Finish what is under way, and end the threads."""
        self._decoders.shutdown()
        self.worker.close()
        self.people.close()
        self._readers.shutdown()


def _threshold(model: Model) -> float | None:
    """Return the distance that is taken for one person; None where so small a rate was not measured."""
    try:
        threshold = None if model.calibration is None else model.calibration.threshold(FALSE_ACCEPTS)
    except InputError:
        return None
    return threshold if threshold is not None and math.isfinite(threshold) else None
