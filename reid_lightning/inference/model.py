"""A trained model, ready to work on images."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reid_lightning.arguments import as_flag, as_path, as_text
from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.engine.trained import TrainedModule
from reid_lightning.errors import InputError
from reid_lightning.experiments.model_folder import own_memory, write_model_folder
from reid_lightning.inference.backends import Answers, Backend, ExportedBackend, TorchBackend
from reid_lightning.inference.images import (
    AnyImage,
    Channels,
    Images,
    crops,
    is_single,
)
from reid_lightning.inference.preprocessing import Preprocessing
from reid_lightning.inference.reading import ImageReader
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.results.card_facts import CardFacts
from reid_lightning.retrieval.calibration import Calibration

if TYPE_CHECKING:
    from reid_lightning.inference.compare import Comparison
    from reid_lightning.inference.describe import Description


class Model:
    """A trained network with everything that its vectors depend on.

    `reid_lightning.load` makes it. Images are a path; the bytes of a file; an image of Pillow; an array (H, W, 3) of uint8;
    or a tensor (3, H, W), uint8 of any size, or float in [0, 1] of the model's size. Several are any iterable of these, a
    generator too, or a batch (N, 3, H, W) or (N, H, W, 3), or an iterable of batches. Arrays and tensors are in RGB, as
    Pillow opens them; `channels="bgr"` takes them as OpenCV reads them. A frame may come with boxes, (N, 4) corners x1, y1,
    x2, y2 in pixels or an object that has them as `xyxy`; `inference.images.crops` says how they are cut.

    Args:
        engine: What computes vectors and answers.
        config: That it was built from, plain containers.
        entry: Of its checkpoint: `version`, `config`, `identity_labels`, `tasks` and what else a run writes.
        facts: What its card says.
        device: Where it works.

    Attributes:
        backend: "torch", "onnx" or "openvino".
        protocol: How its vectors are taken and compared.
        image_size: Height and width in pixels.
        preprocessing: How images come in; `print` shows it in one line.
        feed: Of it `mean` and `std` of pixels in [0, 1] and `interpolation`, and who says so.
        identity_labels: "source/person_id" -> label of the people that it was trained on.
        schema: Names and classes of the attributes that it answers; None where it answers none.
        facts: What its card says: data, numbers, cost, versions.
        calibration: What its distances mean, measured on its validation people; None where that is not known.
        batch_size: Images that the network sees at once.
        device: Where it works.

    Examples:
        model = reid_lightning.load("outputs/run/checkpoints/best.ckpt")
        vectors = model.embed(["a.jpg", "b.jpg"])
        of_people = model.embed(frame, boxes)
    """

    def __init__(
        self,
        engine: Backend,
        config: Mapping[str, Any],
        entry: Mapping[str, Any],
        facts: CardFacts,
        device: torch.device,
        calibration: Calibration | None = None,
    ) -> None:
        engine.to(device)
        self._engine, self.backend, self.protocol = engine, engine.name, engine.protocol
        self.config, self._entry, self.facts, self.device = dict(config), dict(entry), facts, device
        self.calibration = calibration
        height, width = config["data"]["image_size"]
        self.image_size = (int(height), int(width))
        self.batch_size = int(config["data"]["batch_size"])
        self.feed = dict(engine.feed)
        self.preprocessing = Preprocessing(
            self.image_size,
            tuple(self.feed["mean"]),
            tuple(self.feed["std"]),
            self.feed["interpolation"],
            config.get("test_transform"),
        )
        self.identity_labels: dict[str, int] = dict(entry["identity_labels"])
        self.schema = engine.schema
        self._reader = ImageReader(self.preprocessing, device)

    def embed(self, images: Images, boxes: Any = None, *, channels: Channels = "rgb") -> Tensor:
        """Return the vectors that the protocol compares.

        Args:
            images: One or several, as said above; with boxes the frame.
            boxes: Of people in the frame; None: whole images.
            channels: Order of the channels of arrays and tensors.

        Returns:
            (N, D) float32 on the CPU. Of boxes a row each, NaN for those without area in the frame; (0, D) of no boxes.

        Raises:
            InputError: A file is missing or cannot be decoded.
            ValueError: A value is not an image or not boxes as above, or there are no images.
        """
        if boxes is None:
            vectors = list(self.stream(images, channels=channels))
            if not vectors:
                raise ValueError("images must be one image or more, got none")
            return torch.cat(vectors)
        cut, rows, count = crops(images, boxes, channels)
        found = self.embed(cut) if cut else torch.empty(0, self.vector_size)
        if len(rows) == count:
            return found
        full = found.new_full((count, found.shape[1]), torch.nan)
        full[rows] = found
        return full

    def embed_with_attributes(self, images: Images) -> tuple[Tensor, Tensor | None]:
        """Return vectors, and what the attribute heads state, in one pass.

        Args:
            images: As of `embed`.

        Returns:
            (N, D) as of `embed`, and the (N, C) softmax of each attribute's head, float32 in the order of `schema`; None
            where the model answers no attributes.

        Raises:
            InputError: A file is missing or cannot be decoded.
            ValueError: A value is not an image, or there are no images.
        """
        vectors, answers = [], []
        for found in self.answer(images):
            vectors.append(found.vectors.cpu())
            if found.attributes is not None:
                answers.append(found.attributes.cpu())
        if not vectors:
            raise ValueError("images must be one image or more, got none")
        return torch.cat(vectors), torch.cat(answers) if answers else None

    def answer(self, images: Images) -> Iterator[Answers]:
        """Yield all that the model says of images, a batch at a time: vectors, attributes and traits.

        Args:
            images: As of `embed`.

        Raises:
            InputError: A file is missing or cannot be decoded.
            ValueError: A value is not an image.
        """
        for batches in self._reader.batches(images, self.batch_size):
            for batch in batches:
                yield self._engine.answer(batch)

    def stream(
        self,
        images: Images,
        batch_size: int | None = None,
        *,
        channels: Channels = "rgb",
        damaged: dict[int, str] | None = None,
    ) -> Iterator[Tensor]:
        """Yield the vectors of any number of images, in their order, in bounded memory.

        While the network works on a batch, the next one is read; so a generator is asked for up to two batches more than
        have been yielded.

        Args:
            images: As of `embed`.
            batch_size: Images that the network sees at once; None: `self.batch_size`.
            channels: Order of the channels of arrays and tensors.
            damaged: Gets the reason for each image, by its place in the stream, that cannot be read, and the image is left
                out; None: such an image is an error.

        Yields:
            (B, D) float32 on the CPU, B being `batch_size` without images left out, and less at the end.

        Raises:
            InputError: A file is missing or cannot be decoded.
            ValueError: A value is not an image.
        """
        size = self.batch_size if batch_size is None else batch_size
        for batches in self._reader.batches(images, size, channels, damaged):
            vectors = [self._engine.embed(batch).cpu() for batch in batches]
            yield torch.cat(vectors) if vectors else torch.empty(0, self.vector_size)

    @cached_property
    def vector_size(self) -> int:
        """Numbers of a vector: D."""
        return self.embed(self._black()).shape[1]

    def describe(self, images: Images, boxes: Any = None, *, channels: Channels = "rgb") -> "Description":
        """Say what the people of images look like: every attribute with its confidence, and every trait.

        Args:
            images: As of `embed`, like what follows.
            boxes: Of people in the frame. For one without area in it classes are -1, and numbers NaN.
            channels: Order of the channels of arrays and tensors.

        Raises:
            InputError: The model predicts neither attributes nor traits, or a file is missing or cannot be decoded.
            ValueError: As of `embed`.
        """
        from reid_lightning.inference.describe import describe_batches

        def described(several: Images, order: Channels) -> "Description":
            read = self._reader.batches(several, self.batch_size, order)
            return describe_batches(self._engine, (batch for batches in read for batch in batches))

        if boxes is None:
            return described(images, channels)
        cut, rows, count = crops(images, boxes, channels)
        return described(cut or self._black(), "rgb").at(rows, count)

    def _black(self) -> Tensor:
        return torch.zeros(3, *self.image_size, dtype=torch.uint8)

    def compare(
        self,
        a: Images,
        b: Images,
        false_accepts: float | None = None,
        prior: float = 0.5,
        *,
        boxes_a: Any = None,
        boxes_b: Any = None,
        channels: Channels = "rgb",
    ) -> "Comparison":
        """Say whether images show one person.

        Args:
            a: One image or several, as of `embed`.
            b: The same; each image is compared with each.
            false_accepts: Share of pairs of two people that may be taken for one person; None: 0.01 where the model is
                calibrated.
            prior: Share of all pairs that show one person.
            boxes_a: Of people in the frame `a`.
            boxes_b: Of people in the frame `b`.
            channels: Order of the channels of arrays and tensors.

        Returns:
            Distances, probabilities and verdicts, (N, M) each; of two single images without boxes they are scalars, so that
            `float(model.compare(a, b).probability)` is a number. To a box without area in the frame the distance is NaN.

        Raises:
            InputError: A file is missing or cannot be decoded, or a rate or prior is out of range or was not measured.
        """
        from reid_lightning.inference.compare import compare_vectors

        found = compare_vectors(
            self.embed(a, boxes_a, channels=channels),
            self.embed(b, boxes_b, channels=channels),
            self.protocol.distance,
            self.calibration,
            false_accepts=false_accepts,
            prior=prior,
        )
        has_boxes = boxes_a is not None or boxes_b is not None
        return found.of_single() if not has_boxes and is_single(a) and is_single(b) else found

    def pixels(self, image: AnyImage, channels: Channels = "rgb") -> Tensor:
        """Return an image as the network takes it: (3, H, W) of the model's size, laid out with the channels last."""
        return self._reader.pixels(image, channels)

    @property
    def engine(self) -> Backend:
        """What computes its vectors."""
        return self._engine

    @property
    def module(self) -> TrainedModule:
        """The network of torch, with the tasks.

        Raises:
            InputError: The model was exported, and has none.
        """
        if not isinstance(self._engine, TorchBackend):
            raise InputError(
                f"an exported model ({self.backend}) has no network of torch: use the checkpoint that it comes from"
            )
        return self._engine.module

    @property
    def network(self) -> ReIDNetwork:
        """The network of torch, see `module`."""
        return self.module.network

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights as a saved model holds them; an exported float model has that of its weights, too."""
        if isinstance(self._engine, ExportedBackend):
            return self._engine.session.facts.fingerprint
        from safetensors.torch import save

        return hashlib.sha256(save(own_memory(self.module.state_dict()))).hexdigest()

    @property
    def info(self) -> dict[str, Any]:
        """What the model is, as plain values."""
        return {
            "version": self._entry.get("version"),
            "backbone": self.config["backbone"],
            "backend": self.backend,
            **self._engine.facts,
            "image_size": list(self.image_size),
            "preprocessing": self.preprocessing.as_dict(),
            "feed": dict(self.feed),
            "protocol": self.protocol.describe(),
            "distance": self.protocol.distance,
            "data": list(self.facts.data),
            "identities": len(self.identity_labels),
            "attributes": _classes(self.schema),
            "calibration": self.calibration.summary() if self.calibration else None,
            "card": self.facts.as_dict(),
            "device": str(self.device),
        }

    def save_pretrained(
        self, folder: str | os.PathLike[str], license: str | None = None, with_labels: bool = True
    ) -> Path:
        """Write the model into a folder: `model.safetensors`, `config.json` and the card, `README.md`.

        `reid_lightning.load(folder)` reads it, every command takes it in place of a checkpoint, and `huggingface_hub`
        uploads it as it is. Names of folders on this machine are left out of it.

        Args:
            folder: Made if it is not there.
            license: For the card, an identifier such as "cc-by-nc-4.0"; None: not stated.
            with_labels: Whether the names of the training's people are written; numbers stand for them otherwise.

        Returns:
            The folder.

        Raises:
            InputError: The folder cannot be written to.
        """
        from reid_lightning.results.model_card import card_text

        with_labels = as_flag(with_labels, "with_labels")
        folder, license = as_path(folder, "folder"), None if license is None else as_text(license, "license")
        state = self.module.state_dict()
        card = card_text(self.facts, self.config, self.feed, ".", license)
        facts = {
            "image_size": list(self.image_size),
            "attributes": _classes(self.schema),
            "protocol": self.protocol.describe(),
        }
        write_model_folder(folder, state, self.entry(with_labels), card, facts)
        return folder

    def entry(self, with_labels: bool = True) -> dict[str, Any]:
        """Return what a saved or exported model carries beside its weights, as plain values.

        Args:
            with_labels: Whether the names of the training's people are kept; numbers stand for them otherwise.

        Raises:
            InputError: The model was exported, and is not written again.
        """
        return {
            "version": self._entry.get("version"),
            "config": self._entry["config"] | {"evaluation": self.config["evaluation"]},
            "identity_labels": self.identity_labels if with_labels else _numbered(self.identity_labels),
            "tasks": {task.name: task.saved() for task in self.module.tasks},
            "validation": dict(self._entry.get("validation") or {}),
            "validation_interval": self._entry.get("validation_interval"),
            "calibration": self.calibration.as_dict() if self.calibration else None,
            "feed": self.feed,
            "card": self.facts.as_dict(),
        }


def _classes(schema: AttributeSchema | None) -> dict[str, list[str]] | None:
    return None if schema is None else {attribute.name: list(attribute.classes) for attribute in schema}


def _numbered(labels: Mapping[str, int]) -> dict[str, int]:
    return {str(label): label for label in sorted(labels.values())}
