"""How the stripes of two images are aligned (AlignedReID): the path, and a picture of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reid_lightning.reporting.figures import COLORS, FAINT, INK, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT = 3.0  # inches, of an image
WIDEST = 1.2  # width / height of an image as it is drawn
BETWEEN = 0.95  # inches, from one pair to the next
GAP = 1.2  # inches, between the two images of a pair, which the lines cross
THINNEST, THICKEST = 0.4, 4.0  # points, of lines between the farthest and the nearest stripes
PATH_SHOWN = 10  # stripes up to which a cell of the matrix has its number


@dataclass(frozen=True, eq=False)
class AlignedPair:
    """A pair of images and how far apart their stripes are.

    Attributes:
        title: What the pair is: "right match", "wrong match".
        left: (H, W, 3) uint8, the query.
        right: (H, W, 3) uint8.
        costs: (S, S) distances, row i of the query's stripe i, each between 0 and 1.
    """

    title: str
    left: NDArray[np.uint8]
    right: NDArray[np.uint8]
    costs: NDArray[np.floating]


def alignment_path(costs: NDArray[np.floating]) -> list[tuple[int, int]]:
    """Return the cells of the shortest path from the first to the last one, each step right or down.

    Zhang et al. 2017, "AlignedReID", eq. 2, whose length is `distances.shortest_path`. Where both ways are equally short it
    comes from above.

    Args:
        costs: (S, S).

    Examples:
        >>> alignment_path(np.array([[1.0, 9.0, 1.0], [1.0, 9.0, 1.0], [1.0, 1.0, 1.0]]))
        [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]
    """
    lengths = np.full((len(costs) + 1, len(costs) + 1), np.inf)
    lengths[0, 1] = 0
    for row in range(len(costs)):
        for column in range(len(costs)):
            before = min(lengths[row, column + 1], lengths[row + 1, column])
            lengths[row + 1, column + 1] = costs[row, column] + before
    row = column = len(costs) - 1
    path = [(row, column)]
    while row or column:
        if column == 0 or (row > 0 and lengths[row, column + 1] <= lengths[row + 1, column]):
            row -= 1
        else:
            column -= 1
        path.append((row, column))
    return path[::-1]


def alignment_lines(pairs: Sequence[AlignedPair], path: str | Path) -> None:
    """Draw each pair with the lines between its aligned stripes, and beside it their distances with the path.

    Args:
        pairs: One or two, the right match first; a row each.
        path: Picture file.
    """
    height, width = pairs[0].left.shape[:2]
    image = HEIGHT * min(width / height, WIDEST)
    together = 2 * image + GAP
    figure = new_figure(0.3 + together + 0.85 + HEIGHT + 0.3, len(pairs) * (HEIGHT + BETWEEN))
    across, down = figure.get_size_inches()
    every = np.stack([pair.costs for pair in pairs])
    scale = float(every.min()), max(float(every.max()), float(every.min()) + 1e-6)
    for number, (pair, color) in enumerate(zip(pairs, (COLORS[2], COLORS[1]), strict=False)):
        bottom = ((len(pairs) - 1 - number) * (HEIGHT + BETWEEN) + 0.5) / down
        images = figure.add_axes((0.3 / across, bottom, together / across, HEIGHT / down))
        _lines(images, pair, image / HEIGHT, scale, color)
        matrix = figure.add_axes(((1.15 + together) / across, bottom, HEIGHT / across, HEIGHT / down))
        _matrix(matrix, pair, scale, color)
    save(figure, path)


def _lines(axes: "Axes", pair: AlignedPair, width: float, scale: tuple[float, float], color: str) -> None:
    """Draw both images, sides in heights of an image, and a line from stripe to stripe."""
    stripes = len(pair.costs)
    second = width + GAP / HEIGHT
    axes.imshow(pair.left, extent=(0, width, 1, 0), aspect="auto")
    axes.imshow(pair.right, extent=(second, second + width, 1, 0), aspect="auto")
    for edge in np.arange(1, stripes) / stripes:
        for start in (0, second):
            axes.plot((start, start + width), (edge, edge), color="white", linewidth=0.8, alpha=0.8)
    for row, column in alignment_path(pair.costs):
        near = (scale[1] - float(pair.costs[row, column])) / (scale[1] - scale[0])
        axes.plot(
            (width, second), ((row + 0.5) / stripes, (column + 0.5) / stripes), color=color,
            linewidth=THINNEST + (THICKEST - THINNEST) * near, alpha=0.35 + 0.65 * near, solid_capstyle="round",
        )  # fmt: skip
    axes.set_xlim(0, second + width)
    axes.set_ylim(1, 0)
    axes.set_axis_off()
    axes.text(width / 2, 1.03, "query", fontsize=8, color=FAINT, ha="center", va="top")
    axes.text(second + width / 2, 1.03, pair.title, fontsize=8, color=color, ha="center", va="top")


def _matrix(axes: "Axes", pair: AlignedPair, scale: tuple[float, float], color: str) -> None:
    """Draw the distances of the stripes, and the path through them."""
    stripes, path = len(pair.costs), alignment_path(pair.costs)
    axes.imshow(pair.costs, cmap="Greys", vmin=scale[0], vmax=2 * scale[1] - scale[0])
    rows, columns = zip(*path, strict=True)
    axes.plot(
        columns, rows, color=color, linewidth=7, alpha=0.45, solid_capstyle="round", solid_joinstyle="round"
    )
    if stripes <= PATH_SHOWN:
        for (row, column), value in np.ndenumerate(pair.costs):
            ink = INK
            weight = "bold" if (row, column) in path else "normal"
            axes.text(
                column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7.5,
                color=ink, weight=weight,
            )  # fmt: skip
    total = sum(float(pair.costs[cell]) for cell in path)
    axes.set_title(f"{pair.title}: aligned distance {total:.2f}", loc="left", fontsize=10, color=INK, pad=8)
    axes.set_xlabel(f"stripe of the {pair.title}", fontsize=8, color=FAINT)
    axes.set_ylabel("stripe of the query", fontsize=8, color=FAINT)
    places = range(stripes)
    axes.set_xticks(places, [str(place + 1) for place in places])
    axes.set_yticks(places, [str(place + 1) for place in places])
    axes.tick_params(labelsize=7, length=0, labelcolor=FAINT)
    for spine in axes.spines.values():
        spine.set_visible(False)
