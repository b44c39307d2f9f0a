"""The data of a run's page: a plain table of images and of queries, which a script in the page shows."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.data.table import camera_keys, identity_keys
from reid_lightning.files import atomic_path
from reid_lightning.results.browsing.lists import Lists, error_kinds
from reid_lightning.retrieval.camera_pairs import CameraPairs
from reid_lightning.retrieval.ranking import Ranking

VERSION = 1
DATA = "data.js"
BEGIN, END = "window.REID = ", ";\n"
_CODES = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Letters of attribute codes; "." is unknown. Later classes are not shown."""


@dataclass(frozen=True, eq=False)
class Content:
    """What the script reads, and the images that it shows."""

    data: dict[str, Any]
    """Plain containers, in the form that `docs/evaluation.md` describes."""
    images: NDArray[np.int64]
    """(I,) rows of the table, in the order of `data["images"]`."""


def content_of(
    lists: Lists,
    ranking: Ranking | None,
    pairs: CameraPairs | None,
    table: pd.DataFrame,
    schema: AttributeSchema,
    name: str,
    protocol: str,
) -> Content:
    """Return the data of a run's page.

    Args:
        lists: Ranked lists.
        ranking: Scores of all queries; None where nobody is known.
        pairs: Scores of camera pairs.
        table: Of the run.
        schema: Its attributes.
        name: What the run is called.
        protocol: How its numbers were taken, in one line.
    """
    images = lists.images
    place = np.full(len(table), -1)
    place[images] = np.arange(len(images))
    shown = table.iloc[images]
    person = np.asarray(identity_keys(table).fillna("").to_numpy(), object)
    nobody = table["distractor"].to_numpy(bool)
    people, who = np.unique(np.where(nobody[images], "", person[images]).astype(str), return_inverse=True)
    cameras, where = np.unique(camera_keys(shown).fillna("").to_numpy(str), return_inverse=True)
    names = relative_names(table)
    annotated = [
        attribute for attribute in schema if attribute.name in shown and shown[attribute.name].notna().any()
    ]
    run: dict[str, Any] = {
        "name": name,
        "lists": [[int(place[image]) for image in line if image >= 0] for line in lists.nearest],
        "distances": [
            [round(float(gap), 4) for gap, image in zip(gaps, line, strict=True) if image >= 0]
            for gaps, line in zip(lists.distances, lists.nearest, strict=True)
        ],
        "rest": [
            [[rank, int(place[image]), round(gap, 4)] for rank, image, gap in line] for line in lists.rest
        ],
    }
    if ranking is not None:
        own = ranking.select(torch.from_numpy(lists.position))
        run |= {
            "ap": _numbers(own.average_precision.numpy()),
            "first": _numbers(own.first_match_rank.double().numpy()),
            "matches": own.num_matches.tolist(),
            "kinds": error_kinds(lists.nearest[:, 0], person, lists.query, nobody, own),
        }
    if pairs is not None:
        every = sorted(camera_keys(table).dropna().unique())  # a code is a place among them
        at = {str(camera): number for number, camera in enumerate(cameras)}
        run["pair_cameras"] = [at.get(every[camera], -1) for camera in pairs.cameras]
        run["pairs"] = [_numbers(line) for line in pairs.average_precision[lists.position]]
    data = {
        "version": VERSION,
        "known": ranking is not None,
        "protocol": protocol,
        "gallery": int((table["split"] == "gallery").sum()),
        "people": without_source(people.tolist()),
        "cameras": without_source(cameras.tolist()),
        "attributes": [{"title": one.title, "classes": list(one.classes)} for one in annotated],
        "images": {
            "name": [names[image] for image in images],
            "person": [int(row) if people[row] else -1 for row in who],
            "camera": [int(row) if cameras[row] else -1 for row in where],
            "nobody": nobody[images].astype(int).tolist(),
            "attributes": _coded(shown, [one.name for one in annotated]),
        },
        "queries": place[lists.query].tolist(),
        "runs": [run],
        "maps": {},
    }
    return Content(data, images)


def relative_names(rows: pd.DataFrame) -> list[str]:
    """Return each row's path below what the paths of its source have in common, after the source's name.

    Examples:
        >>> relative_names(pd.DataFrame({"path": ["/a/b/q/1.jpg", "/a/b/g/2.jpg"], "source": ["m", "m"]}))
        ['m/q/1.jpg', 'm/g/2.jpg']
    """
    common = {
        source: os.path.commonpath([os.path.dirname(path) for path in paths])
        for source, paths in rows.groupby("source", observed=True)["path"]
    }
    return [
        f"{source}/{os.path.relpath(path, common[source]) if common[source] else path}".replace(os.sep, "/")
        for path, source in zip(rows["path"], rows["source"], strict=True)
    ]


def write_data(data: Mapping[str, Any], folder: Path) -> str:
    """Write `data.js`: a page that is opened from disk may load a script, and no JSON.

    Returns:
        What the data are known by, which stands in them and in their page: the two are written one after the other, and a
        kill may come between them.
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    mark = hashlib.blake2b(text.encode("ascii"), digest_size=8).hexdigest()
    with atomic_path(folder / DATA) as temporary:
        temporary.write_text(f'{BEGIN}{{"mark":"{mark}",{text[1:]}{END}', encoding="ascii")
    return mark


def without_source(names: Sequence[str]) -> list[str]:
    """Leave the source out where there is one only."""
    sources = {name.split("/", 1)[0] for name in names if name}
    return [name.split("/", 1)[-1] for name in names] if len(sources) == 1 else list(names)


def _numbers(values: NDArray[np.floating]) -> list[float | None]:
    return [round(float(value), 6) if np.isfinite(value) else None for value in values]


def _coded(rows: pd.DataFrame, names: Sequence[str]) -> list[str]:
    columns = [rows[name].fillna(-1).astype(int).tolist() for name in names]
    return [
        "".join(_CODES[code] if 0 <= code < len(_CODES) else "." for code in codes)
        for codes in (zip(*columns, strict=True) if columns else [()] * len(rows))
    ]
