"""A map of embeddings: t-SNE lays vectors out in the plane so that those close together stay so (HiQo 2019)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reid_lightning.errors import InputError, printable
from reid_lightning.reporting.figures import COLORS, GRID, INK, as_they_are, new_figure, save
from reid_lightning.reporting.pictures import read_pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = ("o", "^", "s")  # with each color once, before a color comes again
OTHERS = "#c9c9c9"
FEWEST = 5  # images that a map needs
COMPONENTS = 50  # principal components that are laid out, as van der Maaten (2014) does
THUMBNAIL = 0.32  # inches, the height of a picture on the map
THUMBNAIL_PIXELS = 128  # that an image is read with at most
WIDTH, HEIGHT = 7.2, 6.0  # inches
PLOT = (0.78, 0.92)  # fractions of them that the map takes; the rest is the legend's and the title's


def tsne(vectors: NDArray[np.floating], perplexity: float = 30.0, seed: int = 0) -> NDArray[np.float32]:
    """Lay vectors out in the plane by Barnes-Hut t-SNE (van der Maaten 2014) on their principal components.

    Distances are Euclidean, so give vectors of length 1 where they are compared by their cosine.

    Args:
        vectors: (N, D).
        perplexity: About how many neighbors each point minds; at most a third of the points.
        seed: The same seed gives the same map.

    Returns:
        (N, 2) positions.

    Raises:
        InputError: There are fewer than five vectors, all are equal, or the perplexity is not positive.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(vectors) < FEWEST:
        raise InputError(f"A map needs at least {FEWEST} images, and there are {len(vectors)}.")
    if perplexity <= 0:
        raise InputError(f"The map's perplexity {perplexity} must be positive.")
    values = np.asarray(vectors, np.float32)
    if (values == values[0]).all():
        raise InputError("All vectors are equal; there is nothing to lay out.")
    components = min(COMPONENTS, *values.shape)
    if components < values.shape[1]:
        values = PCA(components, random_state=seed).fit_transform(values)
    if values.shape[1] < 2:
        values = np.pad(values, ((0, 0), (0, 1)))  # a start by two components needs two
    layout = TSNE(
        method="barnes_hut", perplexity=min(perplexity, (len(values) - 1) / 3), init="pca", random_state=seed
    )
    positions: NDArray[np.float32] = layout.fit_transform(values)
    return positions


def choose_points(
    people: NDArray[np.str_], nobody: NDArray[np.bool_], shown: int, limit: int, seed: int = 0
) -> tuple[NDArray[np.int64], list[str]]:
    """Choose what a map holds: every image of the people with the most images, and some of the others.

    Args:
        people: (N,) identities.
        nobody: (N,) bool, images of nobody, whom no map names.
        shown: People named.
        limit: Images altogether; of too many others some are drawn at random.
        seed: Which others.

    Returns:
        Rows of the images, rising, and the people named, those with the most images first.

    Examples:
        >>> people = np.array(["a", "b", "b", "c", "c", "c", "0", "0", "0", "0"])
        >>> rows, named = choose_points(people, people == "0", shown=2, limit=7)
        >>> named, rows[:5].tolist(), len(rows)
        (['c', 'b'], [1, 2, 3, 4, 5], 7)
    """
    names, counts = np.unique(people[~nobody], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:shown]
    named = [str(name) for name in names[order]]
    is_named = np.isin(people, named) & ~nobody
    room = max(0, limit - int(is_named.sum()))
    others = np.random.default_rng(seed).permutation(np.flatnonzero(~is_named))[:room]
    return np.sort(np.concatenate([np.flatnonzero(is_named), others])), named


def embedding_map(
    positions: NDArray[np.floating],
    people: NDArray[np.str_],
    named: Sequence[str],
    path: str | Path,
    images: Sequence[str | Path] | None = None,
    title: str = "",
) -> None:
    """Draw the map: a point an image, colored by its person for those named, gray for the others.

    Args:
        positions: (N, 2), as `tsne` gives them.
        people: (N,) identities.
        named: People in the legend.
        path: Picture file.
        images: (N,) image files; then pictures lie on the map wherever there is room, framed in their person's color. One
            that cannot be read any more is a gray tile.
        title: One line above the map.

    Raises:
        InputError: The file's ending is not that of a picture, or it cannot be written.
    """
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.add_axes((0.02, 0.02, *PLOT))
    axes.set_title(title, loc="left", fontsize=10, color=INK, pad=8, parse_math=False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(GRID)
    others = ~np.isin(people, list(named))
    size = 26 if len(positions) < 1000 else 16
    axes.scatter(
        positions[others, 0], positions[others, 1], s=size / 3, color=OTHERS, linewidths=0, label="_others"
    )
    styles = {}
    for number, name in enumerate(named):
        color, marker = COLORS[number % len(COLORS)], MARKERS[number // len(COLORS) % len(MARKERS)]
        styles[name] = color, marker
        own = positions[people == name]
        axes.scatter(
            own[:, 0], own[:, 1], s=size, color=color, marker=marker, linewidths=0.5, edgecolors="white",
            label=_label(name, len(own)),
        )  # fmt: skip
    axes.margins(0.03)
    if images is not None:
        _draw_thumbnails(axes, positions, [styles.get(str(name), (OTHERS, "")) for name in people], images)
    if others.any():
        axes.scatter([], [], s=size / 3, color=OTHERS, label=f"others ({int(others.sum())})")
    if len(positions):
        legend = axes.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False, labelcolor=INK, handletextpad=0.3,
            title="person (images)", title_fontsize=8, alignment="left",
        )  # fmt: skip
        as_they_are(legend.get_texts())
    save(figure, path)


def _label(person: str, images: int) -> str:
    name = printable(person.rsplit("/", 1)[-1])
    return f"{' ' if name.startswith('_') else ''}{name} ({images})"  # a legend leaves out what begins with _


def _draw_thumbnails(
    axes: "Axes",
    positions: NDArray[np.floating],
    styles: Sequence[tuple[str, str]],
    images: Sequence[str | Path],
) -> None:
    """Draw the pictures of points from left to right of a grid of cells, one in a cell, so that none covers another.

    `styles` are their colors and markers; a frame has the color, and its corner the marker that tells people of one
    color apart.
    """
    low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    inches = np.array([WIDTH * PLOT[0], HEIGHT * PLOT[1]])
    height, width = read_pictures(images[:1])[str(images[0])].shape[:2]
    aspect = float(np.clip(width / height, 0.4, 1.6))
    grid = np.floor(inches / (THUMBNAIL * np.array([aspect, 1.0])))
    cell = (high - low) / grid
    cells = np.minimum((positions - low) // cell, grid - 1)
    # People named come first, so that a cell shows one of them if it can.
    order = np.argsort([color == OTHERS for color, _ in styles], kind="stable")
    _, chosen = np.unique(cells[order], axis=0, return_index=True)
    pictures = read_pictures((images[row] for row in order[chosen]), THUMBNAIL_PIXELS)
    for row in order[chosen]:
        image = pictures[str(images[row])]
        height, width = image.shape[:2]
        shape = np.array([width, height]) * (high - low) / inches
        half = 0.45 * shape * (cell / shape).min()
        (left, bottom), (right, top) = (low + (cells[row] + 0.5) * cell + side * half for side in (-1, 1))
        axes.imshow(
            image, extent=(left, right, bottom, top), aspect="auto", zorder=3, interpolation="lanczos"
        )
        frame = [left, right, right, left, left], [bottom, bottom, top, top, bottom]
        color, marker = styles[row]
        axes.plot(*frame, color=color, linewidth=1.2, zorder=4)
        if marker:
            axes.plot(
                left, top, marker, color=color, markersize=5, markeredgecolor="white", markeredgewidth=0.5,
                zorder=5,
            )  # fmt: skip
