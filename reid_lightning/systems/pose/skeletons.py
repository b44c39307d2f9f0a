"""Skeleton maps: what a part branch sees on some images, a color per limb, and the skeleton through its peaks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reid_lightning.reporting.figures import FAINT, INK, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# COCO's 17 joints, by their places: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles, left before right.
LIMBS = {
    "head": ("#e8b21e", (0, 1, 2, 3, 4), ((0, 1), (0, 2), (1, 3), (2, 4))),
    "left arm": ("#d6452f", (5, 7, 9), ((5, 7), (7, 9))),
    "right arm": ("#2f7fd6", (6, 8, 10), ((6, 8), (8, 10))),
    "left leg": ("#e07bb5", (11, 13, 15), ((11, 13), (13, 15))),
    "right leg": ("#2aa876", (12, 14, 16), ((12, 14), (14, 16))),
}
TRUNK = ((5, 6), (11, 12), (5, 11), (6, 12))
COCO_JOINTS = 17
FOUND = 0.15  # a joint whose map stays below it is not drawn


@dataclass(frozen=True, eq=False)
class PosedImage:
    """An image with part maps of one or several branches."""

    image: np.ndarray
    """(H, W, 3) uint8."""
    maps: tuple[np.ndarray, ...]
    """(J, H, W) probabilities of each branch."""
    peaks: tuple[np.ndarray, ...]
    """(J, 2) column and row in pixels, where the maps of each branch are highest."""


def skeletons(images: Sequence[PosedImage], labels: Sequence[str], path: str | Path) -> None:
    """Draw a column per image: the image, and below it the part maps and the skeleton of each branch.

    Args:
        images: All of one size, with as many maps as there are labels.
        labels: What each branch is: "after pre-training", "after fine-tuning".
        path: Picture file.
    """
    from matplotlib.gridspec import GridSpec

    height, width = images[0].image.shape[:2]
    rows, cell = 1 + len(labels), 2.1
    left, bottom = 1.0, 0.35
    figure = new_figure(left + len(images) * (cell * width / height + 0.08), rows * (cell + 0.06) + bottom)
    size = figure.get_size_inches()
    grid = GridSpec(
        rows, len(images), figure=figure, left=left / size[0], right=0.995, top=0.995, bottom=bottom / size[1],
        wspace=0.05, hspace=0.03,
    )  # fmt: skip
    for column, shown in enumerate(images):
        for row in range(rows):
            axes = figure.add_subplot(grid[row, column])
            axes.set_axis_off()
            if row == 0:
                axes.imshow(shown.image)
            else:
                maps, peaks = shown.maps[row - 1], shown.peaks[row - 1]
                axes.imshow(overlaid(shown.image, maps))
                _skeleton(axes, maps, peaks)
            if column == 0:
                text = "image" if row == 0 else labels[row - 1].replace(" ", "\n")
                axes.text(
                    -0.12, 0.5, text, transform=axes.transAxes, ha="right", va="center", fontsize=9, color=INK
                )
    if images[0].maps[0].shape[0] == COCO_JOINTS:
        for place, (name, (color, _, _)) in enumerate(LIMBS.items()):
            x = (left + place * (size[0] - left) / len(LIMBS)) / size[0]
            figure.text(x, 0.1 / size[1], "●", fontsize=8, color=color)
            figure.text(x + 0.14 / size[0], 0.1 / size[1], name, fontsize=8, color=FAINT)
    save(figure, path)


def overlaid(image: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Return an image in gray under its part maps: at each pixel the strongest joint, in the color of its limb.

    Args:
        image: (H, W, 3) uint8.
        maps: (J, H, W) probabilities.

    Returns:
        (H, W, 3) float in [0, 1].
    """
    grey = np.repeat(image.mean(axis=2, keepdims=True) / 255, 3, axis=2) * 0.75
    strongest, strength = maps.argmax(axis=0), maps.max(axis=0)[..., None].clip(0, 1)
    return grey * (1 - strength) + joint_colors(len(maps))[strongest] * strength


def joint_colors(joints: int) -> np.ndarray:
    """Return (J, 3) colors in [0, 1]: those of the limbs, or a wheel of colors for other than COCO's joints."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if joints != COCO_JOINTS:
        return np.asarray(colormaps["hsv"](np.arange(joints) / joints))[:, :3]
    colors = np.empty((joints, 3))
    for color, places, _ in LIMBS.values():
        colors[list(places)] = to_rgb(color)
    return colors


def _skeleton(axes: "Axes", maps: np.ndarray, peaks: np.ndarray) -> None:
    """Draw limbs between joints that were found, and their joints."""
    found, colors = maps.max(axis=(1, 2)) >= FOUND, joint_colors(len(maps))
    lines = [(color, pair) for color, _, pairs in LIMBS.values() for pair in pairs]
    lines += [("white", pair) for pair in TRUNK]
    if len(maps) != COCO_JOINTS:
        lines = []
    for color, (start, end) in lines:
        if found[start] and found[end]:
            ends = peaks[[start, end]]
            axes.plot(
                ends[:, 0], ends[:, 1], color=color, linewidth=1.6, solid_capstyle="round", alpha=0.9, scalex=False,
                scaley=False,
            )  # fmt: skip
    axes.scatter(peaks[found, 0], peaks[found, 1], s=9, c=colors[found], edgecolors="white", linewidths=0.5)
