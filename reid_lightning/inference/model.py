"""A trained model, ready to work on images."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from reid_lightning.config.resolve import instantiate
from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.data.decoding import decode_image, resized
from reid_lightning.engine.module import ReIDModule
from reid_lightning.experiments.model_folder import own_memory, write_model_folder
from reid_lightning.results.card_facts import CardFacts
from reid_lightning.results.card_writer import feed_of
from reid_lightning.results.model_card import card_text

AnyImage = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor


class Model:
    """A trained network with everything that its vectors depend on.

    `reid_lightning.load` makes it. Arrays and tensors are images in RGB, as Pillow opens them.

    Args:
        module: In evaluation mode, with the weights.
        config: That it was built from, plain containers.
        entry: Of its checkpoint: `version`, `config`, `identity_labels`, `tasks` and what else a run writes.
        facts: What its card says.
        device: Where it works.

    Attributes:
        network: The network.
        protocol: How its vectors are taken and compared.
        image_size: Height and width in pixels.
        feed: How images come in: `mean` and `std` of pixels in [0, 1], and `interpolation`.
        identity_labels: "source/person_id" -> label of the people that it was trained on.
        schema: Names and classes of the attributes that it answers; None where it answers none.
        facts: What its card says: data, numbers, cost, versions.
        batch_size: Images that the network sees at once.
        device: Where it works.

    Examples:
        model = reid_lightning.load("outputs/run/checkpoints/best.ckpt")
        vectors = model.embed(["a.jpg", "b.jpg"])
    """

    def __init__(
        self,
        module: ReIDModule,
        config: Mapping[str, Any],
        entry: Mapping[str, Any],
        facts: CardFacts,
        device: torch.device,
    ) -> None:
        self.module = module.to(device).eval()
        self.config, self._entry, self.facts, self.device = dict(config), dict(entry), facts, device
        self.network, self.protocol = module.network, module.protocol
        height, width = config["data"]["image_size"]
        self.image_size = (int(height), int(width))
        self.batch_size = int(config["data"]["batch_size"])
        self.feed = feed_of(module.network)
        self._interpolation: str = self.feed["interpolation"]
        self.identity_labels: dict[str, int] = dict(entry["identity_labels"])
        schema = (config.get("attributes") or {}).get("schema")
        self.schema: AttributeSchema | None = instantiate(schema, "attributes.schema")
        self._transform = instantiate(config.get("test_transform"))

    @torch.no_grad()
    def embed(self, images: AnyImage | Sequence[AnyImage]) -> Tensor:
        """Return the vectors that the protocol compares.

        Args:
            images: One or several: a path; an image of Pillow; an array (H, W, 3) of uint8; a tensor (3, H, W), uint8 of any
                size, or float in [0, 1] of the model's size. Or a tensor of a batch, (N, 3, H, W).

        Returns:
            (N, D) float32 on the CPU.

        Raises:
            InputError: A file is missing or cannot be decoded.
            ValueError: An array or tensor is not an image as above, or there are no images.
        """
        several = _several(images)
        if not several:
            raise ValueError("images must be one image or more, got none")
        parts = []
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(several), self.batch_size):
                pixels = list(pool.map(self._pixels, several[start : start + self.batch_size]))
                for batch in _of_one_type(pixels):
                    parts.append(self.module.embed(batch.to(self.device)).float().cpu())
        return torch.cat(parts)

    def _pixels(self, image: AnyImage) -> Tensor:
        """Return an image as the network takes it: (3, H, W) of the model's size, laid out with the channels last."""
        if isinstance(image, Tensor) and image.is_floating_point():
            if image.shape != (3, *self.image_size):
                raise ValueError(
                    f"a float tensor must have the model's size, {(3, *self.image_size)}, got {tuple(image.shape)}; give "
                    "uint8 for images of any size"
                )
            return image.cpu()
        if isinstance(image, str | os.PathLike):
            array = decode_image(os.fspath(image), self.image_size, self._interpolation)
        else:
            array = resized(_as_array(image), self.image_size, self._interpolation)
        if self._transform is not None:
            array = self._transform(image=array)["image"]
        return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights as a saved model holds them."""
        from safetensors.torch import save

        return hashlib.sha256(save(own_memory(self.module.state_dict()))).hexdigest()

    @property
    def info(self) -> dict[str, Any]:
        """What the model is, as plain values."""
        return {
            "version": self._entry.get("version"),
            "backbone": self.config["backbone"],
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "image_size": list(self.image_size),
            "feed": dict(self.feed),
            "embedding_size": self.network.embedding_size,
            "protocol": self.protocol.describe(),
            "identities": len(self.identity_labels),
            "attributes": _classes(self.schema),
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
        folder = Path(folder)
        entry = {
            "version": self._entry.get("version"),
            "config": self._entry["config"] | {"evaluation": self.config["evaluation"]},
            "identity_labels": self.identity_labels if with_labels else _numbered(self.identity_labels),
            "tasks": {task.name: task.saved() for task in self.module.tasks},
            "validation": dict(self._entry.get("validation") or {}),
            "validation_interval": self._entry.get("validation_interval"),
            "feed": self.feed,
            "card": self.facts.as_dict(),
        }
        card = card_text(self.facts, self.config, self.feed, ".", license)
        facts = {
            "image_size": list(self.image_size),
            "attributes": _classes(self.schema),
            "protocol": self.protocol.describe(),
        }
        write_model_folder(folder, self.module.state_dict(), entry, card, facts)
        return folder


def _classes(schema: AttributeSchema | None) -> dict[str, list[str]] | None:
    return None if schema is None else {attribute.name: list(attribute.classes) for attribute in schema}


def _several(images: Any) -> Sequence[Any]:
    """Return images as a sequence, a single one as a sequence of one."""
    if isinstance(images, Tensor | np.ndarray):
        return list(images) if images.ndim == 4 else [images]
    if isinstance(images, str | os.PathLike | Image.Image):
        return [images]
    return list(images)


def _as_array(image: Any) -> np.ndarray:
    """Return an image in memory as uint8 (H, W, 3)."""
    if isinstance(image, Image.Image):
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    if isinstance(image, Tensor):
        image = image.cpu().permute(1, 2, 0).numpy() if image.ndim == 3 else image.cpu().numpy()
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f"an image must be a path, an image of Pillow, an array or a tensor, got {type(image).__name__}"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"an image must be uint8 with 3 channels, (H, W, 3) as an array or (3, H, W) as a tensor, got {image.dtype} of "
            f"{image.shape}"
        )
    return image


def _of_one_type(pixels: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield batches of images of one type, in their order: the network scales integers itself."""
    start = 0
    for end in range(1, len(pixels) + 1):
        if end == len(pixels) or pixels[end].dtype != pixels[start].dtype:
            batch = torch.stack([image.permute(1, 2, 0) for image in pixels[start:end]])
            yield batch.permute(0, 3, 1, 2)  # channels last, as the data module lays them out
            start = end


def _numbered(labels: Mapping[str, int]) -> dict[str, int]:
    return {str(label): label for label in sorted(labels.values())}
