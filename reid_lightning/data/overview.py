"""Numbers that describe a table: images per camera and person, pairs of cameras, attributes, tracklets."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.data.table import SPLITS, camera_keys, identity_keys, tracklet_keys


@dataclass(frozen=True)
class Overview:
    """Of a table without its distractors and unknown people, except where it is said.

    Attributes:
        cameras: Images of each camera, distractors and unknown people among them: a row a camera, a column a split.
        images: Images of each person, (P,).
        cameras_of_person: Different known cameras of each person, (P,).
        pairs: People seen by both cameras, (C, C) with cameras as in `cameras`; the diagonal: by this camera.
        attributes: `attribute`, `class`, and known images of each split with this class.
        tracklets: Images of each tracklet, (T,).
    """

    cameras: pd.DataFrame
    images: np.ndarray
    cameras_of_person: np.ndarray
    pairs: np.ndarray
    attributes: pd.DataFrame
    tracklets: np.ndarray


def overview(table: pd.DataFrame, schema: AttributeSchema, most_cameras: int = 1_000) -> Overview:
    """Return the numbers of a table.

    Args:
        table: Sources put together.
        schema: The attributes.
        most_cameras: Of which pairs are counted, those with the most images; `pairs` of more would not fit in memory.
    """
    keys = camera_keys(table)
    cameras = pd.crosstab(keys, table["split"]) if keys.notna().any() else pd.DataFrame(dtype=int)
    cameras = cameras.reindex(columns=[split for split in SPLITS if split in cameras.columns])
    order = cameras.sum(axis=1).sort_values(ascending=False, kind="stable").index[:most_cameras]
    cameras = cameras.loc[sorted(order, key=lambda name: (len(name), name))]
    people = identity_keys(table).where(~table["distractor"])
    known = pd.DataFrame({"person": people, "camera": keys})[people.notna()]
    grouped = known.groupby("person")
    return Overview(
        cameras,
        grouped.size().to_numpy(),
        grouped["camera"].nunique().to_numpy(),
        _pairs(known, cameras.index),
        _attributes(table, schema),
        tracklet_keys(table).value_counts().to_numpy(),
    )


def _pairs(known: pd.DataFrame, cameras: pd.Index) -> np.ndarray:
    seen = known.dropna().drop_duplicates()
    seen = seen[seen["camera"].isin(cameras)]
    counts = np.zeros((len(cameras), len(cameras)), np.int64)
    places = pd.Series(
        cameras.get_indexer(pd.Index(seen["camera"])), seen["person"].to_numpy(object), dtype=int
    )
    for _, own in places.groupby(level=0):
        counts[np.ix_(own.tolist(), own.tolist())] += 1
    return counts


def _attributes(table: pd.DataFrame, schema: AttributeSchema) -> pd.DataFrame:
    splits = [split for split in SPLITS if (table["split"] == split).any()]
    rows = []
    for attribute in schema:
        if attribute.name in table.columns:
            counts = pd.crosstab(table[attribute.name].astype("Int64"), table["split"])
            for code, name in enumerate(attribute.classes):
                own = {split: int(counts[split].get(code, 0)) if split in counts else 0 for split in splits}
                rows.append({"attribute": attribute.title, "class": name, **own})
    return pd.DataFrame(rows, columns=["attribute", "class", *splits])
