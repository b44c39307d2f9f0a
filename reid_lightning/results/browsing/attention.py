"""Where a network looks when it compares two images: what places add to their similarity, by Captum."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.distances import unit_vectors
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.retrieval.evaluation import vectors
from reid_lightning.retrieval.protocol import EvaluationProtocol

BATCH = 16
BLEND = 0.5
GRAD_CAM, BY_PLACE = "Grad-CAM", "gradient times activation"


@dataclass(frozen=True)
class Looking:
    """How the maps of a network are made.

    Attributes:
        method: `GRAD_CAM`, for a vector that is pooled over all places alike; or `BY_PLACE`, where places count for
            themselves: a class token attends to them, stripes and key points weigh them.
        layer: Whose output is looked into.
        as_map: Gives that output, or what is computed of it, the shape (B, C, h, w).
    """

    method: str
    layer: nn.Module
    as_map: Callable[[Tensor], Tensor]


def looking(network: ReIDNetwork, protocol: EvaluationProtocol) -> Looking | str:
    """Return how the maps of a network are made, or in a sentence why there are none."""
    backbone: Any = network.backbone
    parts = network.parts
    if network.descriptor is not None and protocol.feature == network.descriptor.gives:
        return "Its vectors come from several depths, and not from one feature map."
    if getattr(parts, "reads_token", False) and protocol.feature == parts.gives:  # type: ignore[union-attr]
        return "Its vectors join the class tokens of groups of patches, each of a block of its own."
    if any(getattr(part, "reads_token", False) for part in (network.pooling, parts)):
        # What enters the normalization will not do: scaling a token changes nothing there, so that the sum is 0.
        norm = getattr(backbone.depths[-1], "norm1", None) if backbone.depths else None
        if not isinstance(norm, nn.Module):
            return (
                "Its vectors come from a class token, and its last block does not begin with a normalization."
            )
        return Looking(BY_PLACE, norm, backbone.as_map)
    by_parts = parts is not None and (network.pooling is None or protocol.feature == parts.gives)
    return Looking(BY_PLACE if by_parts else GRAD_CAM, backbone, nn.Identity())


def attention_maps(
    looked: Looking,
    network: ReIDNetwork,
    datamodule: ReIDDataModule,
    protocol: EvaluationProtocol,
    images: Sequence[int],
    targets: Tensor,
    device: torch.device,
) -> NDArray[np.float32]:
    """Return how much every place of an image adds to its similarity with another image.

    Selvaraju et al. 2017, "Grad-CAM", with the similarity to the other image's vector in the place of a class's score. Where
    places count for themselves, their gradients are not averaged: Draelos and Carin 2020, "HiResCAM".

    Args:
        looked: As of `looking`.
        network: In evaluation mode afterwards as before.
        datamodule: Holds the images.
        protocol: What is compared: the cosine, or minus half the squared distance.
        images: (N,) rows of the table.
        targets: (N, D) vector of the other image.
        device: Where the network is.

    Returns:
        (N, h, w), from 0 to 1 for the place that adds most; 0 where nothing adds.
    """
    from captum.attr import LayerGradCam, LayerGradientXActivation

    def similarity(batch: Tensor, target: Tensor) -> Tensor:
        found = vectors(network(batch), protocol)
        if protocol.distance == "cosine":
            return (unit_vectors(found) * unit_vectors(target)).sum(dim=1)
        return -(found - target).square().sum(dim=1) / 2

    was_training = network.training
    network.eval()
    maps = []
    try:
        seen = (LayerGradCam if looked.method == GRAD_CAM else LayerGradientXActivation)(
            similarity, looked.layer
        )
        for start in range(0, len(images), BATCH):
            rows = list(images[start : start + BATCH])
            batch = datamodule.images_of(rows).to(device).float().div(255)
            target = targets[start : start + BATCH].to(device)
            with torch.enable_grad():
                found = seen.attribute(batch.requires_grad_(), additional_forward_args=target)
            maps.append(looked.as_map(found).detach().float().sum(dim=1).relu().cpu())
    finally:
        network.train(was_training)
        network.zero_grad(set_to_none=True)
    whole = torch.cat(maps) if maps else torch.zeros(0, 1, 1)
    peak = whole.amax(dim=(1, 2), keepdim=True)
    scaled: NDArray[np.float32] = torch.where(
        peak > 0, whole / peak.clamp(min=1e-30), torch.zeros(())
    ).numpy()
    return scaled


def overlay(picture: NDArray[np.uint8], attention: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a picture under its map: places that add much are yellow, those that add nothing dark blue.

    Args:
        picture: (H, W, 3) uint8, red first.
        attention: (h, w) from 0 to 1.
    """
    height, width = picture.shape[:2]
    spread = cv2.resize(attention.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC).clip(
        0, 1
    )
    colors = cv2.applyColorMap((255 * spread).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    grey = picture.mean(axis=2, keepdims=True).repeat(3, axis=2)
    blended: NDArray[np.uint8] = ((1 - BLEND) * grey + BLEND * colors).clip(0, 255).astype(np.uint8)
    return blended
