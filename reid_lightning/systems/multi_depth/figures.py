"""What the page of a run shows of its multi-depth descriptor."""

import logging
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch

from reid_lightning.errors import InputError
from reid_lightning.reporting.page import Picture
from reid_lightning.systems.examples import typical_triple
from reid_lightning.systems.multi_depth.descriptor import MultiDepthDescriptor, smooth
from reid_lightning.systems.multi_depth.filter_curves import FilterCurve, filter_curves
from reid_lightning.systems.multi_depth.filter_maps import MappedImage, filter_maps, third_histograms
from reid_lightning.systems.task import Run

LABELS = ("query", "same person", "another person")
LAYERS_SHOWN = 6
TRIPLES, TOGETHER = 512, 8  # triples of images, where the config says nothing, and those of a batch

log = logging.getLogger("reid_lightning")


def draw_filters(run: Run) -> list[Picture]:
    """Draw the chosen maps of a typical query, of its person in another image and of the nearest other person.

    Args:
        run: After an evaluation.

    Returns:
        The pictures in the order of the page; none where no query has a true match.
    """
    rows = typical_triple(run)
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


def draw_distances(run: Run) -> list[Picture]:
    """Draw how far apart the maps of one person and of two are, filter by filter (its Fig. 5).

    The triples are those of the training images that the filters were explored with.

    Args:
        run: After the filters were explored.

    Returns:
        The picture; none where there are no training images, as in an evaluation.
    """
    network = run.network.eval()
    descriptor = network.descriptor
    assert isinstance(descriptor, MultiDepthDescriptor)
    explored = (run.config.get("callbacks") or {}).get("explore") or {}
    triples, together = int(explored.get("triples", TRIPLES)), int(explored.get("batch_size", TOGETHER))
    device = next(network.parameters()).device

    def images() -> Iterator[torch.Tensor]:
        for batch in islice(run.datamodule.train_triplets_dataloader(together), max(1, triples // together)):
            yield network.normalize(batch["images"].to(device))

    try:
        means = descriptor.mean_distances(network.backbone, images())  # type: ignore[arg-type]
    except (InputError, ValueError) as error:
        log.info("distances of filters are not drawn: %s", error)
        return []
    curves = []
    for layer in _shown(descriptor):
        same, different = means[layer].numpy()
        curves.append(
            FilterCurve(descriptor.layers[layer], same, different, int(descriptor.filters[layer, 0]))
        )
    path = run.output_dir / "filter_distances.png"
    filter_curves(curves, path)
    gains = [
        mean[1, chosen] - mean[0, chosen]
        for mean, chosen in zip(means, descriptor.filters[:, 0], strict=True)
    ]
    best = all(
        float(mean.diff(dim=0).max()) - float(gain) <= 1e-6 for mean, gain in zip(means, gains, strict=True)
    )
    caption = (
        "Mean distance of the smoothed maps of two images of one person (d_s) and of two people (d_d), over the filters of "
        f"each layer, in order of their number; {triples // together * together or together:,} triples of training images. "
        f"The chosen filter{', which has the largest d_d - d_s,' if best else ''} is marked."
    )
    return [Picture("Distances of filters", path, caption)]


def _shown(descriptor: MultiDepthDescriptor) -> list[int]:
    """Return the positions of the layers that pictures show."""
    count = len(descriptor.layers)
    return np.unique(np.linspace(0, count - 1, min(LAYERS_SHOWN, count)).round().astype(int)).tolist()


@torch.no_grad()
def _mapped(run: Run, images: torch.Tensor) -> tuple[list[MappedImage], list[str]]:
    network = run.network.eval()
    descriptor = network.descriptor
    assert isinstance(descriptor, MultiDepthDescriptor)
    normalized = network.normalize(images.to(run.device))
    _, chosen = descriptor.chosen_maps(network.backbone, normalized)  # type: ignore[arg-type]
    shown = _shown(descriptor)
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
