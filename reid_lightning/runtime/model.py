"""An exported model that works on images with numpy alone."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_lightning.data.boxes import corners_of, cut
from reid_lightning.data.decoding import decoded, read_regular, resized
from reid_lightning.errors import InputError
from reid_lightning.runtime.distances import distances
from reid_lightning.runtime.facts import ATTRIBUTES, EMBEDDING, IMAGENET_MEAN, IMAGENET_STD, ExportFacts
from reid_lightning.runtime.sessions import Outputs, Session, open_session

BATCH = 32
Image = str | os.PathLike[str] | bytes | NDArray[np.uint8]


class RuntimeModel:
    """An exported model. `reid_lightning.runtime.load` makes it.

    Images are a path; the bytes of a file; or an array (H, W, 3) of uint8 in RGB. Several are any iterable of these.

    Args:
        session: Of the exported file.

    Attributes:
        facts: What the file says of itself.

    Raises:
        InputError: The file asks for a custom transform, which needs more than numpy.

    Examples:
        model = reid_lightning.runtime.load("model.onnx")
        vectors = model.embed(["a.jpg", "b.jpg"])
        of_people = model.embed(frame, boxes)
    """

    def __init__(self, session: Session) -> None:
        if session.facts.transform is not None:
            raise InputError(
                "the model has a test_transform of its own, which is no part of the exported file: use reid_lightning.load"
            )
        self.session, self.facts = session, session.facts

    def embed(self, images: Image | Iterable[Image], boxes: Any = None) -> NDArray[np.float32]:
        """Return the (N, D) vectors that the model's protocol compares.

        Args:
            images: One or several, as said above; with boxes the frame.
            boxes: (N, 4) corners x1, y1, x2, y2 in pixels of people in the frame, or an object that has them as `xyxy`;
                one without area in the frame gets a row of NaN.

        Raises:
            InputError: A file is missing or cannot be decoded.
            ValueError: A value is not an image, or not boxes.
        """
        if boxes is None:
            return self._outputs(images)[EMBEDDING]
        corners = corners_of(getattr(boxes, "xyxy", boxes))
        crops, rows = cut(as_pixels(images), corners)
        found = np.full((len(corners), self.facts.outputs[EMBEDDING]), np.nan, np.float32)
        if crops:
            found[rows] = self._outputs(crops)[EMBEDDING]
        return found

    def describe(self, images: Image | Iterable[Image]) -> list[dict[str, dict[str, Any]]]:
        """Return, for each image, the most probable `class` of each attribute by its name, and its `confidence`.

        Raises:
            InputError: The file answers no attributes, or an image cannot be read.
        """
        if not self.facts.attributes:
            raise InputError("the exported model answers no attributes: export it with --attributes")
        said: list[dict[str, dict[str, Any]]] = []
        for row in self._outputs(images)[ATTRIBUTES]:
            answers, start = {}, 0
            for name, classes in self.facts.attributes.items():
                own = row[start : start + len(classes)]
                answers[name] = {
                    "class": classes[int(own.argmax())],
                    "confidence": round(float(own.max()), 4),
                }
                start += len(classes)
            said.append(answers)
        return said

    def distance(self, a: Image | Iterable[Image], b: Image | Iterable[Image]) -> NDArray[np.float32]:
        """Return the (N, M) distances between images; `facts.thresholds` say what they mean."""
        return distances(self.embed(a), self.embed(b), self.facts.distance)

    def _outputs(self, images: Image | Iterable[Image]) -> Outputs:
        with ThreadPoolExecutor() as pool:
            found = [self.session.run(batch) for batch in self._batches(images, pool)]
        if not found:
            raise ValueError("images must be one image or more, got none")
        return {name: np.concatenate([part[name] for part in found]) for name in self.facts.outputs}

    def _batches(self, images: Image | Iterable[Image], pool: ThreadPoolExecutor) -> Iterator[NDArray[Any]]:
        several = iter([images]) if _is_one(images) else iter(images)  # type: ignore[arg-type]
        while batch := list(islice(several, BATCH)):
            pixels = np.stack(list(pool.map(self._pixels, batch)))
            yield as_input(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), self.facts)

    def _pixels(self, image: Image) -> NDArray[np.uint8]:
        return resized(as_pixels(image), self.facts.image_size, self.facts.interpolation)


def load(path: str | os.PathLike[str], threads: int | None = None) -> RuntimeModel:
    """Open an exported model.

    Args:
        path: A `.onnx` file, or the `.xml` of OpenVINO.
        threads: Of the processor; None: as many as there are cores, or `OMP_NUM_THREADS`.

    Raises:
        InputError: It cannot be used, or its engine is not installed.
    """
    return RuntimeModel(open_session(path, threads))


def as_pixels(image: Any) -> NDArray[np.uint8]:
    """Return an image as (H, W, 3) uint8 in RGB, in its own size.

    Raises:
        InputError: A file is missing or cannot be decoded.
        ValueError: It is not an image.
    """
    if isinstance(image, str | os.PathLike):
        path = os.fspath(image)
        return decoded(read_regular(path), path, path)
    if isinstance(image, bytes):
        return decoded(image, f"an image of {len(image):,} bytes")
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError("an image must be a path, the bytes of a file, or an array (H, W, 3) of uint8")
    if 0 in image.shape:
        raise ValueError(f"an image must have pixels, got {image.shape}")
    return image


def as_input(images: NDArray[np.uint8], facts: ExportFacts) -> NDArray[Any]:
    """Return (N, 3, H, W) pixels as the file takes them: themselves, or normalized by ImageNet's numbers."""
    if facts.preprocess == "inside":
        return images
    mean, std = (np.array(row, np.float32)[:, None, None] for row in (IMAGENET_MEAN, IMAGENET_STD))
    return (images.astype(np.float32) / np.float32(255) - mean) / std


def _is_one(images: Any) -> bool:
    return isinstance(images, str | os.PathLike | bytes) or (
        isinstance(images, np.ndarray) and images.ndim == 3
    )
