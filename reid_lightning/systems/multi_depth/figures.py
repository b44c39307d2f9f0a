"""What the page of a run shows of its multi-depth descriptor."""

import numpy as np
import torch

from reid_lightning.reporting.page import Picture
from reid_lightning.systems.multi_depth.descriptor import MultiDepthDescriptor, smooth
from reid_lightning.systems.multi_depth.filter_maps import MappedImage, filter_maps, third_histograms
from reid_lightning.systems.task import Run

LABELS = ("query", "same person", "another person")
LAYERS_SHOWN = 6


def draw_filters(run: Run) -> list[Picture]:
    """Draw the chosen maps of a typical query, of its person in another image and of the nearest other person.

    Args:
        run: After an evaluation.

    Returns:
        The pictures in the order of the page; none where no query has a true match.
    """
    rows = _example(run)
    if rows is None:
        return []
    images, titles = _mapped(run, run.datamodule.images_of(rows))
    maps, thirds = (run.output_dir / f"{name}.png" for name in ("filter_maps", "filter_thirds"))
    filter_maps(images, titles, maps)
    third_histograms(images, titles, thirds)
    return [
        Picture(
            "Maps of the chosen filters",
            maps,
            "The best filter of some layers, resized to the image and smoothed: what the descriptor compares. Each layer "
            "has a scale of its own; the other person is the nearest one in the gallery.",
        ),
        Picture(
            "Values of these maps",
            thirds,
            "Share of the pixels over the map's value, in the top, middle and bottom third of the image.",
        ),
    ]


def _example(run: Run) -> list[int] | None:
    """Return the table's rows of a query of median precision, of its nearest true match and nearest other person."""
    if run.ranking is None or run.rows is None:
        return None
    precision, evaluated = run.ranking.average_precision, run.rows
    answered = torch.nonzero(precision.isfinite()).flatten()
    if not len(answered):
        return None
    position = answered[precision[answered].argsort(stable=True)[len(answered) // 2]]
    query, gallery = evaluated.query, evaluated.gallery
    distances = torch.linalg.vector_norm(gallery.vectors - query.vectors[position], dim=1)
    same = gallery.person_ids == query.person_ids[position]
    elsewhere = same & (gallery.camera_ids != query.camera_ids[position])
    chosen = [elsewhere if elsewhere.any() else same, ~same]
    if not all(mask.any() for mask in chosen):
        return None
    nearest = [int(distances.masked_fill(~mask, torch.inf).argmin()) for mask in chosen]
    return [int(query.index[position]), *(int(gallery.index[place]) for place in nearest)]


@torch.no_grad()
def _mapped(run: Run, images: torch.Tensor) -> tuple[list[MappedImage], list[str]]:
    network = run.network.eval()
    descriptor = network.descriptor
    assert isinstance(descriptor, MultiDepthDescriptor)
    normalized = network.normalize(images.to(run.device))
    _, chosen = descriptor.chosen_maps(network.backbone, normalized)  # type: ignore[arg-type]
    count = len(descriptor.layers)
    shown = np.unique(np.linspace(0, count - 1, min(LAYERS_SHOWN, count)).round().astype(int))
    frame = (images.shape[-2], images.shape[-1])
    maps = [smooth(chosen[layer][:, 0], frame, descriptor.box).cpu().numpy() for layer in shown]
    titles = [
        f"layer {descriptor.layers[layer]}, filter {int(descriptor.filters[layer, 0])}" for layer in shown
    ]
    mapped = [
        MappedImage(label, image.permute(1, 2, 0).numpy(), tuple(layer[i] for layer in maps))
        for i, (label, image) in enumerate(zip(LABELS, images.cpu(), strict=True))
    ]
    return mapped, titles
