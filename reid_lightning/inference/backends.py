"""What computes the vectors of a `Model`: a network of torch, or a file that `reid export` has written."""

from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from reid_lightning.data.annotations import AttributeForm
from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.engine.trained import TrainedModule
from reid_lightning.results.card_facts import feed_of
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.runtime.facts import ATTRIBUTES, EMBEDDING, TRAITS
from reid_lightning.runtime.model import as_input
from reid_lightning.runtime.sessions import Session
from reid_lightning.systems.attributes.heads import probabilities
from reid_lightning.systems.attributes.task import AttributeTask
from reid_lightning.systems.traits.task import TraitsTask

BackendName = Literal["torch", "onnx", "openvino"]


class Answers(NamedTuple):
    """All that a model says of N images, on its device."""

    vectors: Tensor
    """(N, D) float32 that the protocol compares."""
    attributes: Tensor | None
    """(N, C) float32 probabilities of the classes of each attribute, one attribute after the other; None without any."""
    traits: Tensor | None
    """(N, T) float32, in the traits' own units; None without any."""


class Backend(Protocol):
    """What computes vectors and answers.

    Attributes:
        name: "torch", "onnx" or "openvino".
        protocol: How vectors are taken and compared.
        schema: Attributes that it answers; None where it answers none.
        traits: Names of the traits that it answers.
        feed: How images come in: `mean`, `std` and `interpolation`.
        facts: Of `Model.info`: `parameters` and `embedding_size`.
    """

    name: BackendName
    protocol: EvaluationProtocol
    schema: AttributeSchema | None
    traits: tuple[str, ...]
    feed: dict[str, Any]
    facts: dict[str, Any]

    @property
    def form(self) -> AttributeForm | None:
        """How the annotations that it was trained on write the attributes; None where that is not known."""

    def embed(self, images: Tensor) -> Tensor:
        """Return the (N, D) float32 vectors of (N, 3, H, W) images, uint8 or float in [0, 1]."""

    def answer(self, images: Tensor) -> Answers:
        """Return vectors, and what the heads say, of (N, 3, H, W) images, in one pass."""

    def to(self, device: torch.device) -> None:
        """Work on a device from now on."""


class TorchBackend:
    """A network of torch.

    Args:
        module: In evaluation mode, with the weights.
    """

    name: BackendName = "torch"

    def __init__(self, module: TrainedModule) -> None:
        self.module, self.protocol = module, module.protocol
        self.feed: dict[str, Any] = feed_of(module.network)
        self._heads = next((task for task in module.tasks if isinstance(task, AttributeTask)), None)
        self._traits = next((task for task in module.tasks if isinstance(task, TraitsTask)), None)
        self.schema = None if self._heads is None else self._heads.schema
        self.traits = () if self._traits is None else self._traits.traits
        self.facts: dict[str, Any] = {
            "parameters": sum(parameter.numel() for parameter in module.network.parameters()),
            "embedding_size": module.network.embedding_size,
        }

    @property
    def form(self) -> AttributeForm | None:
        """How the annotations that it was trained on write the attributes."""
        return None if self._heads is None else self._heads.form

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Return the vectors of images."""
        return self.module.embed(images).float()

    @torch.no_grad()
    def answer(self, images: Tensor) -> Answers:
        """Return vectors, and what the heads say."""
        vectors, features = self.module.embed_with_features(images)
        stated = None
        if self.schema is not None:
            stated = probabilities(features.extra["attributes"].float(), self.schema.sizes)
        return Answers(
            vectors.float(), stated, None if self._traits is None else self._traits.answers(features)
        )

    def to(self, device: torch.device) -> None:
        """Move the network."""
        self.module.to(device).eval()


class ExportedBackend:
    """A file that `reid export` has written, on the CPU.

    Args:
        session: Of the file.
        protocol: How its vectors are compared.
        schema: Attributes that it answers; None where it answers none.
        form: How the annotations that it was trained on write them.
    """

    def __init__(
        self,
        session: Session,
        protocol: EvaluationProtocol,
        schema: AttributeSchema | None,
        form: AttributeForm | None,
    ) -> None:
        self.session, self.protocol, self.schema, self._form = session, protocol, schema, form
        self.name: BackendName = "openvino" if session.name == "openvino" else "onnx"
        told = session.facts
        self.traits = tuple(told.traits)
        self.feed: dict[str, Any] = {
            "mean": list(told.mean),
            "std": list(told.std),
            "interpolation": told.interpolation,
        }
        parameters = told.model.get("parameters")
        self.facts = {
            "parameters": parameters,
            "embedding_size": told.outputs[EMBEDDING],
            "precision": told.precision,
        }

    @property
    def form(self) -> AttributeForm | None:
        """How the annotations that it was trained on write the attributes."""
        return self._form

    def embed(self, images: Tensor) -> Tensor:
        """Return the vectors of images."""
        return self.answer(images).vectors

    def answer(self, images: Tensor) -> Answers:
        """Return all outputs of the file."""
        if images.is_floating_point():
            images = (images * 255).round().clamp(0, 255).to(torch.uint8)  # as the file takes them
        found = self.session.run(as_input(images.cpu().contiguous().numpy(), self.session.facts))
        rows = {name: torch.from_numpy(values) for name, values in found.items()}
        return Answers(rows[EMBEDDING], rows.get(ATTRIBUTES), rows.get(TRAITS))

    def to(self, device: torch.device) -> None:
        """Stay where the engine is."""
