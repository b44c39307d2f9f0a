"""Where a network looks when it compares two images: Grad-CAM of their similarity, by Captum."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.distances import unit_vectors
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.retrieval.evaluation import vectors
from reid_lightning.retrieval.protocol import EvaluationProtocol

BATCH = 16
BLEND = 0.5


def has_maps(network: ReIDNetwork) -> bool:
    """Whether the network's vector comes from a feature map: one of a class token, of stripes or of key points does not."""
    return network.pooling is not None and not getattr(network.pooling, "reads_token", False)


def attention_maps(
    network: ReIDNetwork,
    datamodule: ReIDDataModule,
    protocol: EvaluationProtocol,
    images: Sequence[int],
    targets: Tensor,
    device: torch.device,
) -> NDArray[np.float32]:
    """Return how much every place of an image adds to its similarity with another image.

    Selvaraju et al. 2017, "Grad-CAM", with the similarity to the other image's vector in the place of a class's score; of
    the backbone's last feature map.

    Args:
        network: In evaluation mode afterwards as before.
        datamodule: Holds the images.
        protocol: What is compared: the cosine, or minus half the squared distance.
        images: (N,) rows of the table.
        targets: (N, D) vector of the other image.
        device: Where the network is.

    Returns:
        (N, h, w), from 0 to 1 for the place that adds most; 0 where nothing adds.
    """
    from captum.attr import LayerGradCam

    def similarity(batch: Tensor, target: Tensor) -> Tensor:
        found = vectors(network(batch), protocol)
        if protocol.distance == "cosine":
            return (unit_vectors(found) * unit_vectors(target)).sum(dim=1)
        return -(found - target).square().sum(dim=1) / 2

    was_training = network.training
    network.eval()
    maps = []
    try:
        seen = LayerGradCam(similarity, network.backbone)
        for start in range(0, len(images), BATCH):
            rows = list(images[start : start + BATCH])
            batch = datamodule.images_of(rows).to(device).float().div(255)
            target = targets[start : start + BATCH].to(device)
            with torch.enable_grad():
                found = seen.attribute(
                    batch.requires_grad_(), additional_forward_args=target, relu_attributions=True
                )
            maps.append(found[:, 0].detach().float().cpu())
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
