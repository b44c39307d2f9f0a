"""Two runs on the same queries: the data of their pages as one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reid_lightning.errors import InputError
from reid_lightning.retrieval.statistics import mean_interval


@dataclass(frozen=True)
class Compared:
    """How two runs differ on the queries that both have answered."""

    queries: int
    mean_ap: tuple[float, float]
    """Of the first run and of the second, as fractions."""
    rank1: tuple[float, float]
    gain: float
    """mAP of the second less that of the first."""
    interval: tuple[float, float] | None
    """95 % interval of the gain over people; None of fewer than two."""
    both: int
    """Queries whose nearest image is right in both runs."""
    first_only: int
    second_only: int
    neither: int


def joined(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """Join the data of two pages (`content.content_of`), queries by the names of their images.

    Args:
        first: Of the one run.
        second: Of the other.

    Returns:
        Data with two runs, and where each image comes from: 0 or 1 for the page, and its number there.

    Raises:
        InputError: They share no query, or have different attributes.
    """
    if not (first["known"] and second["known"]):
        raise InputError(
            "one of the runs was tested on people of whom nothing is known: there is nothing to compare."
        )
    sides = (first, second)
    asked = [
        {side["images"]["name"][image]: number for number, image in enumerate(side["queries"])}
        for side in sides
    ]
    common = [name for name in asked[0] if name in asked[1]]
    if not common:
        raise InputError("the runs share no query image: they were tested on different data.")
    if first["attributes"] != second["attributes"]:
        raise InputError(
            "the runs have different attributes: compare runs whose config has the same attributes.schema."
        )
    place: dict[str, int] = {}
    origin: list[tuple[int, int]] = []
    numbers = []  # by side: its image -> the joint one
    for side_number, side in enumerate(sides):
        for image, name in enumerate(side["images"]["name"]):
            if name not in place:
                place[name] = len(place)
                origin.append((side_number, image))
        numbers.append([place[name] for name in side["images"]["name"]])
    people, cameras = (_union(first[kind], second[kind]) for kind in ("people", "cameras"))
    columns: dict[str, list[Any]] = {
        "name": list(place),
        "person": [],
        "camera": [],
        "nobody": [],
        "attributes": [],
    }
    for side_number, image in origin:
        side = sides[side_number]
        person, camera = side["images"]["person"][image], side["images"]["camera"][image]
        columns["person"].append(people[side["people"][person]] if person >= 0 else -1)
        columns["camera"].append(cameras[side["cameras"][camera]] if camera >= 0 else -1)
        columns["nobody"].append(side["images"]["nobody"][image])
        columns["attributes"].append(side["images"]["attributes"][image])
    rows = [[known[name] for name in common] for known in asked]
    runs = [
        _of_side(side, row, number, cameras) for side, row, number in zip(sides, rows, numbers, strict=True)
    ]
    if runs[0]["name"] == runs[1]["name"]:
        runs[0]["name"], runs[1]["name"] = f"{runs[0]['name']} (first)", f"{runs[1]['name']} (second)"
    data = dict(first) | {
        "people": list(people),
        "cameras": list(cameras),
        "images": columns,
        "queries": [place[name] for name in common],
        "runs": runs,
        "maps": {},
    }
    for own in ("points", "maps_by", "no_maps"):
        data.pop(own, None)
    return data, origin


def compared(data: Mapping[str, Any]) -> Compared:
    """Return how the two runs of joined data differ."""
    precision = np.array(
        [[np.nan if one is None else one for one in run["ap"]] for run in data["runs"]], float
    )
    hits = np.array([[one == 1 for one in run["first"]] for run in data["runs"]])
    counted = np.isfinite(precision).all(axis=0)
    precision, hits = precision[:, counted], hits[:, counted]
    people = np.array([data["images"]["person"][image] for image in data["queries"]])[counted]
    if not counted.any():
        raise InputError("no query of both runs has a true match.")
    return Compared(
        int(counted.sum()),
        (float(precision[0].mean()), float(precision[1].mean())),
        (float(hits[0].mean()), float(hits[1].mean())),
        float((precision[1] - precision[0]).mean()),
        mean_interval(precision[1] - precision[0], people, bounds=(-1.0, 1.0)),
        int((hits[0] & hits[1]).sum()),
        int((hits[0] & ~hits[1]).sum()),
        int((~hits[0] & hits[1]).sum()),
        int((~hits[0] & ~hits[1]).sum()),
    )


def _of_side(
    side: Mapping[str, Any], rows: list[int], numbers: list[int], cameras: Mapping[str, int]
) -> dict[str, Any]:
    """Return the results of a run for some of its queries, images and cameras by their joint numbers."""
    own = side["runs"][0]
    found = {
        "name": own["name"],
        "lists": [[numbers[image] for image in own["lists"][row]] for row in rows],
        "distances": [own["distances"][row] for row in rows],
        "rest": [[[rank, numbers[image], gap] for rank, image, gap in own["rest"][row]] for row in rows],
        **{name: [own[name][row] for row in rows] for name in ("ap", "first", "matches", "kinds")},
    }
    if "pairs" in own:
        found["pairs"] = [own["pairs"][row] for row in rows]
        found["pair_cameras"] = [
            cameras[side["cameras"][camera]] if camera >= 0 else -1 for camera in own["pair_cameras"]
        ]
    return found


def _union(first: list[str], second: list[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(dict.fromkeys([*first, *second]))}
