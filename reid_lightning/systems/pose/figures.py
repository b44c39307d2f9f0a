"""What the page of a run shows of its part branch, and how well that finds the joints of the test images."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.models.heat_maps import peaks
from reid_lightning.models.pose import PartBranch, PoseBilinear
from reid_lightning.models.weights import load_weights
from reid_lightning.reporting.page import Picture
from reid_lightning.reporting.skeletons import PosedImage, skeletons
from reid_lightning.systems.pose.pretraining import BRANCH_FILE, describe_scores, posed_images, score_parts

IMAGES_SHOWN = 8
_MEASURED = 500  # images that PCK is taken of


def measure_parts(module: Any, datamodule: ReIDDataModule) -> dict[str, float]:
    """Return PCK of the part branch on the test images, or the validation's where there is no test.

    Returns:
        By name, as fractions; empty without a part branch or without key points.
    """
    if not isinstance(module.network.parts, PoseBilinear):
        return {}
    posed = posed_images(datamodule, _evaluated_splits(datamodule), _MEASURED)
    return {} if posed is None else score_parts(module.network, posed)


def draw_skeletons(
    module: Any,
    datamodule: ReIDDataModule,
    output_dir: Path,
    config: Mapping[str, Any],
    scores: Mapping[str, float],
) -> list[Picture]:
    """Draw the part maps of some test images before and after the training.

    Args:
        module: After an evaluation.
        datamodule: Holds the evaluation's images.
        output_dir: The run's folder.
        config: The run's plain config.
        scores: What `measure_parts` returned.

    Returns:
        The picture, or none where the model has no part branch.
    """
    parts = module.network.parts
    if not isinstance(parts, PoseBilinear):
        return []
    branches, start = {"as trained": parts.branch}, _start_of(output_dir, config)
    if start is not None and not parts.frozen:
        before = copy.deepcopy(parts.branch)
        load_weights(before, start, "parts.weights")
        branches = {"pre-trained": before, "fine-tuned": parts.branch}
    table = datamodule.table
    rows = np.flatnonzero(table["split"].isin(_evaluated_splits(datamodule)) & ~table["distractor"])
    if not len(rows):
        return []
    rows = rows[np.linspace(0, len(rows) - 1, min(IMAGES_SHOWN, len(rows))).round().astype(int)]
    path = output_dir / "skeletons.png"
    skeletons(
        _posed(module, datamodule.images_of(rows.tolist()), list(branches.values())), list(branches), path
    )
    caption = (
        "At each pixel the part map that answers strongest, and lines between the maps' peaks. Fine-tuned maps are free to "
        "leave the joints: identities alone teach them."
    )
    if scores:
        caption += f" Joints in sight on test images, as trained: {describe_scores(dict(scores))}."
    return [Picture("Part maps", path, caption)]


def _evaluated_splits(datamodule: ReIDDataModule) -> tuple[str, ...]:
    return ("query", "gallery") if datamodule.has_test else ("val",)


def _start_of(output_dir: Path, config: Mapping[str, Any]) -> Path | None:
    """Return the file of the weights that the branch started from, if it is there."""
    named = (config.get("parts") or {}).get("weights")
    path = Path(named).expanduser() if named else output_dir / BRANCH_FILE
    return path if path.is_file() else None


@torch.no_grad()
def _posed(module: Any, images: Tensor, branches: list[PartBranch]) -> list[PosedImage]:
    network = module.network.eval()
    normalized = network.normalize(images.to(module.device))
    size = (images.shape[-2], images.shape[-1])
    maps, places = [], []
    for branch in branches:
        logits = branch.eval()(normalized)
        resized = functional.interpolate(logits.float(), size=size, mode="bicubic", align_corners=False)
        maps.append(resized.sigmoid().cpu().numpy())
        places.append((peaks(logits, size).cpu() * torch.tensor([size[1], size[0]]) - 0.5).numpy())
    return [
        PosedImage(
            image.permute(1, 2, 0).numpy(), tuple(m[place] for m in maps), tuple(p[place] for p in places)
        )
        for place, image in enumerate(images.cpu())
    ]
