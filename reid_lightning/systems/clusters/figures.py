"""What the page of a run shows of its clusters."""

from pathlib import Path

import numpy as np
import pandas as pd

from reid_lightning.reporting.contact_sheet import contact_sheet
from reid_lightning.reporting.figures import COLORS, FAINT, new_figure, plain, save
from reid_lightning.reporting.page import Picture
from reid_lightning.systems.clusters.forming import Integers
from reid_lightning.systems.task import Run

SHOWN, IMAGES = 12, 12  # clusters of the sheet, and images of each


def draw_clusters(run: Run, groups: Integers) -> list[Picture]:
    """Draw curves over the epochs, the images of a cluster, and a sheet of some clusters into the run's folder.

    Args:
        run: After its training.
        groups: (N,) cluster of each training image, -1 for none; labeled images have their identity's.
    """
    pictures = []
    history = _history(run.output_dir / "metrics.csv")
    rows = run.datamodule.train_rows
    unlabelled = run.datamodule.annotations.labels[rows] < 0
    if len(history):
        truth = run.datamodule.truth.iloc[rows[unlabelled]]
        pictures.append(_curves(history, groups[unlabelled], truth, run.output_dir / "clusters.png"))
    table = run.datamodule.table.iloc[rows[unlabelled]]
    pictures.append(_sheet(table, groups[unlabelled], run.output_dir / "cluster_sheet.jpg"))
    return pictures


def _history(file: Path) -> pd.DataFrame:
    """Return what was logged of each epoch's clusters; empty where nothing was."""
    if not file.is_file():
        return pd.DataFrame()
    history = pd.read_csv(file)
    if "val/clusters/clusters" not in history:
        return pd.DataFrame()
    return history[history["val/clusters/clusters"].notna()]


def _curves(history: pd.DataFrame, groups: Integers, truth: pd.Series, path: Path) -> Picture:
    """Draw the number of clusters, the criteria, and how many images the last clusters hold."""
    figure = new_figure(10.2, 3.0)
    left, middle, right = figure.subplots(1, 3)
    epochs = history["epoch"] + 1
    left.plot(epochs, history["val/clusters/clusters"], color=COLORS[0], marker="o", markersize=3)
    known = int(truth.nunique())
    if known:
        left.axhline(known, color=FAINT, linewidth=0.8, linestyle=":")
    left.set_ylim(bottom=0)
    plain(left, "Clusters", "epoch")
    named = {"silhouette": "silhouette", "stability": "as before", "outliers": "in none", "purity": "purity"}
    for color, (name, label) in zip(COLORS, named.items(), strict=False):
        if f"val/clusters/{name}" in history:
            middle.plot(epochs, history[f"val/clusters/{name}"], color=color, label=label)
    middle.set_ylim(min(0.0, middle.get_ylim()[0]), 1.02)
    middle.legend(fontsize=7, frameon=False)
    plain(middle, "Shares and criteria", "epoch")
    sizes = np.bincount(groups[groups >= 0])
    bins = np.linspace(0, max(sizes.max(initial=1), 1), 25)
    right.hist(sizes, bins=bins, color=COLORS[0], alpha=0.7, label="clusters")
    if known:
        right.hist(truth.value_counts(), bins=bins, histtype="step", color=COLORS[1], label="people")
        right.legend(fontsize=7, frameon=False)
    plain(right, "Images of a cluster", "images")
    figure.tight_layout()
    save(figure, path)
    dotted = " The dotted line is the number of people, which nothing trains on." if known else ""
    caption = (
        f"Clusters of the training set after each epoch.{dotted} Silhouette and the agreement with the epoch before need no "
        "labels."
    )
    return Picture("Clusters", path, caption)


def _sheet(table: pd.DataFrame, groups: Integers, path: Path) -> Picture:
    """Draw images of clusters from the largest to the smallest, a row each."""
    count = int(groups.max(initial=-1)) + 1
    chosen = np.unique(np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int))
    rows = np.flatnonzero(np.isin(groups, chosen))
    names = pd.Series([f"{group:09d}" for group in groups[rows]], dtype="string")
    shown = table.iloc[rows].reset_index(drop=True).assign(person_id=names, camera_id=None)
    contact_sheet(shown, path, people=SHOWN, cameras=IMAGES, shots=1)
    caption = f"A row is a cluster: {len(chosen)} of {count}, from the largest to the smallest, and its first images."
    return Picture("A sheet of clusters", path, caption)
