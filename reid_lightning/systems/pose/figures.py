"""What the page of a run shows of its part branch."""

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from reid_lightning.models.weights import load_weights
from reid_lightning.reporting.page import Picture
from reid_lightning.systems.pose.bilinear import PartBranch, PoseBilinear
from reid_lightning.systems.pose.heat_maps import peaks
from reid_lightning.systems.pose.pretraining import BRANCH_FILE, describe_scores
from reid_lightning.systems.pose.skeletons import PosedImage, skeletons
from reid_lightning.systems.task import Run

IMAGES_SHOWN = 8


def draw_skeletons(run: Run, scores: Mapping[str, float], started_from: str | None = None) -> list[Picture]:
    """Draw the part maps of some test images before and after the training.

    Args:
        run: After an evaluation.
        scores: PCK, by name (see `pretraining.score_parts`).
        started_from: File of the weights that the branch started from; None: what the pre-training wrote.

    Returns:
        The picture, or none where there are no images of people.
    """
    parts = run.network.parts
    assert isinstance(parts, PoseBilinear)
    branches = {"as trained": parts.branch}
    start = Path(started_from).expanduser() if started_from else run.output_dir / BRANCH_FILE
    if start.is_file() and not parts.frozen:
        before = copy.deepcopy(parts.branch)
        load_weights(before, start, "parts.weights")
        branches = {"pre-trained": before, "fine-tuned": parts.branch}
    table = run.datamodule.table
    rows = np.flatnonzero(table["split"].isin(run.evaluated_splits) & ~table["distractor"])
    if not len(rows):
        return []
    rows = rows[np.linspace(0, len(rows) - 1, min(IMAGES_SHOWN, len(rows))).round().astype(int)]
    path = run.output_dir / "skeletons.png"
    posed = _posed(run, run.datamodule.images_of(rows.tolist()), list(branches.values()))
    skeletons(posed, list(branches), path)
    caption = (
        "At each pixel the part map that answers strongest, and lines between the maps' peaks. Fine-tuned maps are free to "
        "leave the joints: identities alone teach them."
    )
    if scores:
        caption += f" Joints in sight on test images, as trained: {describe_scores(dict(scores))}."
    return [Picture("Part maps", path, caption)]


@torch.no_grad()
def _posed(run: Run, images: Tensor, branches: list[PartBranch]) -> list[PosedImage]:
    network = run.network.eval()
    normalized = network.normalize(images.to(run.device))
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
