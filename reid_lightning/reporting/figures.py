"""Curves of a run: cumulative matching and learning. Drawn without a display and without global state."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, require_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

INK, FAINT, GRID = "#222222", "#777777", "#e4e4e4"
COLORS = ("#1f5a99", "#c8553d", "#3a7d44", "#8c6bb1", "#b8860b", "#5f6b73", "#d081a8", "#2a9d8f")
NOT_LOSSES = ("train/accuracy", "train/joint_accuracy", "train/lr", "train/images_per_second")
DPI = 150
FEW = 12  # points of a curve that are marked; one alone has no line


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure, sizes in inches, that belongs to no window and no global registry."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: "Figure", path: str | Path) -> None:
    """Write the figure atomically; the file's ending chooses the format.

    Raises:
        InputError: The file extension is not an image format.
    """
    require_figure(path)
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name; it is drawn as a box
        if Path(path).suffix.lower() == ".png":
            figure.savefig(
                temporary, pil_kwargs={"compress_level": 1}
            )  # the usual 6 takes a fifth of the time
        else:
            figure.savefig(temporary)


def require_figure(path: str | Path) -> None:
    """Refuse a figure's file that cannot be written, before any work; its folder is made.

    Raises:
        InputError: The file extension is not an image format, or the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if Path(path).suffix[1:].lower() not in FigureCanvasAgg.get_supported_filetypes():
        raise InputError(f"{path} names no picture: give it an ending such as .png, .jpg, .pdf or .svg.")
    require_output(path)


def as_they_are(texts: Iterable["Text"]) -> None:
    """Show names as they are: a dollar sign in them begins no formula."""
    for text in texts:
        text.set_parse_math(False)


def plain(axes: "Axes", title: str, xlabel: str) -> None:
    """Give axes the look that all pictures share."""
    # With a given y, matplotlib does not measure every tick to find the same one.
    axes.set_title(title, loc="left", y=1.0, fontsize=10, color=INK, pad=8, parse_math=False)
    axes.set_xlabel(xlabel, fontsize=8, color=FAINT)
    axes.tick_params(labelsize=8, color=GRID, labelcolor=FAINT, length=3)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)


def cmc_curve(cmc: Sequence[float], path: str | Path, title: str = "Cumulative matching") -> None:
    """Draw Rank-k over k and name the usual ranks.

    Args:
        cmc: Fractions of queries answered within the first 1, 2, ... images.
        path: Picture file.
        title: One line above the curve.
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    ranks = range(1, len(cmc) + 1)
    axes.plot(ranks, cmc, color=COLORS[0], linewidth=1.8)
    for k in (1, 5, 10, 20):
        if k <= len(cmc):
            axes.plot(k, cmc[k - 1], "o", color=COLORS[0], markersize=4)
            axes.annotate(
                f"Rank-{k}\n{100 * cmc[k - 1]:.1f}",
                (k, cmc[k - 1]),
                xytext=(4, -8),
                textcoords="offset points",
                va="top",
                fontsize=8,
                color=INK,
            )
    lowest = min(cmc) - 0.25 * (1 - min(cmc)) - 0.05
    axes.set_ylim(max(0.0, lowest), 1.01)
    axes.set_xlim(0.5, len(cmc) + 0.5)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain(axes, title, "gallery images looked at (k)")
    figure.subplots_adjust(left=0.09, right=0.97, bottom=0.14, top=0.91)
    save(figure, path)


def learning_curves(history: pd.DataFrame, path: str | Path) -> None:
    """Draw loss terms, validation scores and learning rate over epochs.

    Args:
        history: Lightning's `metrics.csv`: columns `step` (optimizer steps), `epoch`, `train/...`, `val/...`; a
            row holds what was logged together, the rest is NaN.
        path: Picture file.

    Raises:
        InputError: The history holds none of these curves.
    """
    from matplotlib.ticker import MaxNLocator

    tested = [name for name in history.columns if str(name).startswith("test/")]
    history = history[history[tested].isna().all(axis=1)]  # the test comes after the last epoch
    epochs = _epochs(history)
    terms = [
        name for name in map(str, history.columns) if name.startswith("train/") and name not in NOT_LOSSES
    ]
    terms = [name for name in terms if name.count("/") == 1]  # a further slash: a diagnostic of a loss
    panels: list[tuple[str, list[str]]] = [
        ("Loss", sorted(terms, key=lambda name: (name != "train/loss", name))),
        ("Validation", [name for name in ("val/mAP", "val/rank1") if name in history]),
        ("Learning rate", [name for name in ("train/lr",) if name in history]),
    ]
    panels = [(title, names) for title, names in panels if history[names].notna().to_numpy().any()]
    if not panels:
        raise InputError("The run's metrics.csv holds no curve yet; train for at least one logged step.")
    figure = new_figure(3.8 * len(panels), 3.0)
    for number, (title, names) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), number)
        for name, color in zip(names, _cycle(len(names)), strict=True):
            values = history[name].dropna()
            marker = "o" if len(values) < (40 if title == "Validation" else FEW) else None
            width = 1.8 if name in ("train/loss", "val/mAP") else 1.2
            axes.plot(
                epochs[values.index], values, color=color, label=_label(name), linewidth=width,
                marker=marker, markersize=3, clip_on=False,
            )  # fmt: skip
        plain(axes, title, "epoch")
        axes.set_xlim(0, max(epochs.max(), 1))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        if title == "Validation":
            axes.set_ylim(0, 1)
        if len(names) > 1:
            axes.legend(fontsize=8, frameon=False, labelcolor=INK, handlelength=1.4)
    share = 1 / len(panels)  # of the width; a layout that measures its texts takes twice as long to draw
    figure.subplots_adjust(left=0.14 * share, right=1 - 0.04 * share, bottom=0.15, top=0.89, wspace=0.22)
    save(figure, path)


def _epochs(history: pd.DataFrame) -> pd.Series:
    """Return each row's place in epochs, with a fraction, from steps and whole epochs."""
    if history.empty:
        return pd.Series(dtype=float)
    steps = history["step"] + 1
    per_epoch = steps.max() / (history["epoch"].max() + 1)
    return steps / per_epoch


def _label(name: str) -> str:
    known = {"train/loss": "total", "val/mAP": "mAP", "val/rank1": "Rank-1"}
    return known.get(name, name.split("/", 1)[1].replace("_", " "))


def _cycle(count: int) -> list[str]:
    return [COLORS[i % len(COLORS)] for i in range(count)]
