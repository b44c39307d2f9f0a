"""Who a sheet of people shows, by which images, and who looks like whom."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reid_lightning.data.image_facts import ImageFacts
from reid_lightning.data.table import identity_keys

MOST_PEOPLE = 2_000
CELLS = 6
"""Images of a person."""


@dataclass(frozen=True)
class Shown:
    """A person of the sheet.

    Attributes:
        name: `source/person_id`.
        images: How many there are.
        rows: Of the table that are shown, one a camera first.
        alike: Places in the sheet of the people who look most alike, with their distance, 0 to 1.
    """

    name: str
    images: int
    rows: tuple[int, ...]
    alike: tuple[tuple[int, float], ...]


def choose_people(
    table: pd.DataFrame, facts: ImageFacts, most: int = MOST_PEOPLE, cells: int = CELLS
) -> list[Shown]:
    """Return the people of a sheet, in the order of their names; of more than `most` every k-th.

    Two people look alike where the mean color histograms of their images are close: the distance is half the sum of the
    absolute differences, 0 for the same colors and 1 for none in common.

    Args:
        table: N rows, sources put together.
        facts: Of the same rows; images that cannot be read are not shown.
        most: People.
        cells: Images of each.
    """
    people = identity_keys(table).where(~table["distractor"])
    readable = np.ones(len(table), bool)
    readable[list(facts.damaged)] = False
    rows = np.flatnonzero(people.notna().to_numpy() & readable)
    names = people.iloc[rows].to_numpy(object)
    groups = {str(name): own.to_numpy() for name, own in pd.Series(rows).groupby(names)}
    chosen = sorted(groups)[:: -(-len(groups) // most) or 1]
    cameras = table["camera_id"].fillna("").to_numpy(object)
    own = [groups[name] for name in chosen]
    colors = np.array([facts.colors[places].astype(np.float32).mean(axis=0) for places in own])
    alike = _alike(colors)
    return [
        Shown(name, len(places), _cells(places, cameras[places], cells), near)
        for name, places, near in zip(chosen, own, alike, strict=True)
    ]


def _cells(rows: np.ndarray, cameras: np.ndarray, cells: int) -> tuple[int, ...]:
    """Return the first image of each camera, then the second ones, and so on; ordered by camera."""
    table = pd.DataFrame({"row": rows, "camera": cameras})
    table["turn"] = table.groupby("camera").cumcount()
    length = table["camera"].str.len()
    table = table.assign(length=length).sort_values(["turn", "length", "camera"], kind="stable").head(cells)
    return tuple(table.sort_values(["length", "camera", "turn"], kind="stable")["row"].tolist())


def _alike(colors: np.ndarray, near: int = 2) -> list[tuple[tuple[int, float], ...]]:
    found = []
    for place, color in enumerate(colors):
        distances = np.abs(colors - color).sum(axis=1) / 2
        distances[place] = np.inf
        order = np.argsort(distances, kind="stable")[: min(near, len(colors) - 1)]
        found.append(tuple((int(other), round(float(distances[other]), 3)) for other in order))
    return found
