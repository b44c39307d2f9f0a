"""Pictures of a multi-depth descriptor: its smoothed maps of three images, and how their values spread (Birjand 2022)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reid_lightning.reporting.figures import COLORS, FAINT, GRID, INK, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THIRDS = ("top", "middle", "bottom")
MAP_COLORS = "cividis"
BINS = 24


@dataclass(frozen=True, eq=False)
class MappedImage:
    """An image with its smoothed maps, one per shown layer."""

    label: str
    """Who it shows: "query", "same person", "another person"."""
    image: np.ndarray
    """(H, W, 3) uint8."""
    maps: tuple[np.ndarray, ...]
    """(H, W) each."""


def filter_maps(images: Sequence[MappedImage], titles: Sequence[str], path: str | Path) -> None:
    """Draw a row per image: the image, then its map in each layer, a layer's maps on one scale.

    Args:
        images: All of one size, with as many maps as there are titles.
        titles: Short name of each map: "layer 3, filter 17".
        path: Picture file.
    """
    from matplotlib.gridspec import GridSpec

    height, width = images[0].image.shape[:2]
    cell = 1.6 * width / height
    left, top = 1.15, 0.45
    figure = new_figure(left + (len(titles) + 1) * (cell + 0.28), top + len(images) * 1.7)
    size = figure.get_size_inches()
    grid = GridSpec(
        len(images), len(titles) + 1, figure=figure, left=left / size[0], right=0.99, top=1 - top / size[1], bottom=0.02,
        wspace=0.25, hspace=0.06,
    )  # fmt: skip
    for row, shown in enumerate(images):
        first = figure.add_subplot(grid[row, 0])
        first.imshow(shown.image)
        first.text(
            -0.15, 0.5, shown.label.replace(" ", "\n"), transform=first.transAxes, ha="right", va="center",
            fontsize=9, color=COLORS[row],
        )  # fmt: skip
        _bare(first)
        for column, title in enumerate(titles):
            values = [other.maps[column] for other in images]
            axes = figure.add_subplot(grid[row, column + 1])
            axes.imshow(shown.maps[column], cmap=MAP_COLORS, vmin=np.min(values), vmax=np.max(values))
            if row == 0:
                axes.set_title(title.replace(", ", "\n"), fontsize=8, color=FAINT, pad=4)
            _bare(axes)
    save(figure, path)


def _bare(axes: "Axes") -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def third_histograms(images: Sequence[MappedImage], titles: Sequence[str], path: str | Path) -> None:
    """Draw how the values of each map spread in the top, middle and bottom third of the frame.

    A row is a third, a column a layer; each image is a line: the share of the third's pixels over the map's value.

    Args:
        images: The same as of `filter_maps`, as are the titles.
        titles: Short name of each map.
        path: Picture file.
    """
    figure = new_figure(1.0 + 1.75 * len(titles), 4.6)
    panels = figure.subplots(len(THIRDS), len(titles), squeeze=False)
    for column, title in enumerate(titles):
        values = np.stack([shown.maps[column] for shown in images])
        edges = np.linspace(values.min(), max(values.max(), values.min() + 1e-6), BINS + 1)
        for row, third in enumerate(THIRDS):
            axes = panels[row, column]
            for shown, color in zip(images, COLORS, strict=False):
                shares = third_shares(shown.maps[column], edges)[row]
                axes.stairs(shares, edges, color=color, linewidth=1.3, label=shown.label)
            axes.set_yticks([])
            axes.tick_params(labelsize=7, color=GRID, labelcolor=FAINT, length=2, labelbottom=row == 2)
            axes.locator_params(axis="x", nbins=3)
            for side in ("top", "right", "left"):
                axes.spines[side].set_visible(False)
            axes.spines["bottom"].set_color(GRID)
            if row == 0:
                axes.set_title(title.replace(", ", "\n"), fontsize=8, color=FAINT)
            if column == 0:
                axes.set_ylabel(third, fontsize=9, color=INK, rotation=0, ha="right", va="center", labelpad=8)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    save(figure, path)


def third_shares(values: np.ndarray, edges: np.ndarray) -> list[np.ndarray]:
    """Return, for the top, middle and bottom third of an (H, W) map, the share of its pixels in each bin.

    Examples:
        >>> third_shares(np.array([[0.0], [0.0], [1.0]]), np.array([0.0, 0.5, 1.0]))
        [array([1., 0.]), array([1., 0.]), array([0., 1.])]
    """
    return [np.histogram(third, edges)[0] / third.size for third in np.array_split(values, 3, axis=0)]
