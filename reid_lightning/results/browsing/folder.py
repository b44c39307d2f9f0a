"""The folder beside a run's page: the data, small images, and maps of where the network looks."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reid_lightning.errors import InputError
from reid_lightning.reporting.embedding_map import FEWEST, choose_points, tsne
from reid_lightning.reporting.pictures import read_pictures
from reid_lightning.reporting.thumbnails import HEIGHT, write_thumbnail, write_thumbnails
from reid_lightning.results.browsing.attention import Looking, attention_maps, looking, overlay
from reid_lightning.results.browsing.content import Content, write_data
from reid_lightning.results.browsing.lists import Lists
from reid_lightning.retrieval.evaluation import EvaluationRows
from reid_lightning.systems.task import Run

log = logging.getLogger("reid_lightning")

FOLDER = "report"
MAPPED = 100
"""Queries with maps: half of them the worst, the others evenly from worst to best."""
LAID_OUT, NAMED = 600, 12
"""Images of the embedding map, and people that it names."""


def write_folder(content: Content, lists: Lists, run: Run, part: Path) -> str:
    """Write `data.js`, `images/` and `maps/`.

    Args:
        content: What the script reads; maps and the embedding map are added to it.
        lists: Ranked lists.
        run: After its last evaluation.
        part: An empty folder, which takes the place of the earlier one beside the page when all is written.

    Returns:
        What the page knows the folder by, as of `write_data`.
    """
    assert run.rows is not None
    data: dict[str, Any] = dict(content.data)
    paths = run.datamodule.table["path"].to_numpy()[content.images].tolist()
    (part / "images").mkdir()
    (part / "maps").mkdir()
    files = [part / "images" / f"{place}.jpg" for place in range(len(paths))]
    if unreadable := write_thumbnails(paths, files):
        log.warning("Unreadable images shown as gray tiles on the page: %d", unreadable)
    data |= _maps(data, content, lists, run, part / "maps")
    if (points := _embedding(data, content, run.rows, run.protocol.distance == "cosine")) is not None:
        data["points"] = points
    return write_data(data, part)


def _maps(data: dict[str, Any], content: Content, lists: Lists, run: Run, folder: Path) -> dict[str, Any]:
    """Write maps, and return what the page says of them: by which method they are made, or why there are none."""
    looked = looking(run.network, run.protocol)
    if isinstance(looked, str):
        return {"no_maps": looked}
    try:
        return {"maps": _write_maps(looked, data, content, lists, run, folder), "maps_by": looked.method}
    except InputError:
        raise
    except Exception as error:  # of a network that hooks cannot follow
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        log.warning("the page has no maps of where the network looks (%s); all else is on it", said)
        return {"no_maps": f"They could not be computed for this network ({type(error).__name__})."}


def _write_maps(
    looked: Looking, data: dict[str, Any], content: Content, lists: Lists, run: Run, folder: Path
) -> dict[str, list[list[Any]]]:
    """Write maps of chosen queries with their first right and their first wrong image.

    Returns:
        By the query's number: image, file of the query's map, file of the image's map.
    """
    rows = run.rows
    assert rows is not None
    vectors = np.full(len(run.datamodule.table), -1)
    vectors[rows.index.cpu().numpy()] = np.arange(len(rows))
    person, nobody = data["images"]["person"], data["images"]["nobody"]
    pairs: list[tuple[int, int, int]] = []  # number of the query, its image, the other image
    own = data["runs"][0]
    for number in _mapped(own.get("ap"), len(lists.query)):
        query, listed = data["queries"][number], own["lists"][number]
        right = [
            image
            for image in listed
            if person[image] == person[query] and not nobody[image] and data["known"]
        ]
        wrong = [image for image in listed if image not in right]
        right += [image for _, image, _ in own["rest"][number][:1]]
        pairs += [(number, query, image) for image in (*right[:1], *wrong[:1])]
    sides = [(query, image) for _, query, image in pairs] + [(image, query) for _, query, image in pairs]
    seen = [int(content.images[image]) for image, _ in sides]
    others = (
        torch.from_numpy(vectors[content.images[[other for _, other in sides]]])
        if sides
        else torch.zeros(0).long()
    )
    maps = attention_maps(
        looked,
        run.network,
        run.datamodule,
        run.protocol,
        seen,
        rows.vectors[others.to(rows.vectors.device)],
        run.device,
    )
    paths = run.datamodule.table["path"].to_numpy()
    pictures = read_pictures((paths[row] for row in seen), 2 * HEIGHT)
    found: dict[str, list[list[Any]]] = {}
    for place, (number, _, image) in enumerate(pairs):
        names = []
        for side, at in (("query", place), ("match", len(pairs) + place)):
            name = f"{number}_{image}_{side}.jpg"
            write_thumbnail(overlay(pictures[str(paths[seen[at]])], maps[at]), folder / name)
            names.append(name)
        found.setdefault(str(number), []).append([image, *names])
    return found


def _mapped(precision: list[float | None] | None, count: int) -> list[int]:
    if precision is None:
        return np.unique(np.linspace(0, count - 1, min(count, MAPPED)).round().astype(int)).tolist()
    values = np.array([np.nan if value is None else value for value in precision])
    order = np.argsort(values, kind="stable")[: int(np.isfinite(values).sum())]
    if len(order) <= MAPPED:
        return sorted(order.tolist())
    worst = MAPPED // 2
    evenly = np.linspace(worst, len(order) - 1, MAPPED - worst).round().astype(int)
    return sorted(order[np.unique(np.concatenate([np.arange(worst), evenly]))].tolist())


def _embedding(
    data: dict[str, Any], content: Content, rows: EvaluationRows, cosine: bool
) -> dict[str, Any] | None:
    """Return places of some of the images in the plane, by t-SNE of their vectors; None of too few."""
    at = np.full(int(rows.index.max()) + 1, -1)
    at[rows.index.cpu().numpy()] = np.arange(len(rows))
    place = at[content.images]
    person = np.array(data["images"]["person"])
    ranked = np.flatnonzero(place >= 0)
    chosen, named = choose_points(person[ranked].astype(str), person[ranked] < 0, NAMED, LAID_OUT)
    chosen = ranked[chosen]
    vectors = rows.vectors[torch.from_numpy(place[chosen]).to(rows.vectors.device)].float().cpu().numpy()
    if len(chosen) < FEWEST or bool((vectors == vectors[0]).all()):
        return None
    where = tsne(
        vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12) if cosine else vectors
    )
    where = (where - where.min(axis=0)) / np.maximum(np.ptp(where, axis=0), 1e-9)
    return {
        "image": chosen.tolist(),
        "x": where[:, 0].round(4).tolist(),
        "y": where[:, 1].round(4).tolist(),
        "named": [int(name) for name in named],
    }
