"""The protocol of sets with two cameras: some people train, the others are looked for from one camera in the other."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from reid_lightning.data.readers.layout import in_split_order
from reid_lightning.errors import InputError, require


def draw_test_people(people: Sequence[str], count: int, split: int) -> set[str]:
    """Draw who is tested in a random split.

    Split i is the first `count` of `numpy.random.default_rng(i).permutation(sorted people)`, on every machine.

    Args:
        people: Everyone that both cameras saw.
        count: People of the test, a reader's `test_identities`; the others train.
        split: Number of the split, from 0 on.

    Raises:
        ValueError: The split's number is negative, or nobody is left on one side.

    Examples:
        >>> sorted(draw_test_people(["ann", "bob", "cid", "dan"], 2, split=0))
        ['ann', 'cid']
    """
    check_split(split)
    names = np.array(sorted(set(people)), dtype=object)
    wanted = f"from 1 to {len(names) - 1} ({len(names)} people are in both cameras, and some of them train)"
    require(0 < count < len(names), "test_identities", wanted, count)
    return set(np.random.default_rng(split).permutation(names)[:count])


def check_split(split: int, count: int | None = None) -> None:
    """Refuse a split that does not exist.

    Args:
        split: Number of the split.
        count: How many the data set defines; None: any from 0 on.

    Raises:
        ValueError: There is no such split.
    """
    known = type(split) is int and split >= 0 and (not count or split < count)
    limit = f"to {count - 1}" if count else "on"
    require(known, "split", f"the number of a split, from 0 {limit}", split)


def require_both_cameras(images: pd.DataFrame, folder: object) -> list[str]:
    """Return all people, sorted.

    Raises:
        InputError: A person was seen by one camera only: files are missing.
    """
    cameras = images.groupby("person_id")["camera_id"].unique()
    alone = cameras[cameras.map(len) < 2]
    if len(alone):
        raise InputError(
            f"{folder} holds person {alone.index[0]} in camera {alone.iloc[0][0]} only (and {len(alone) - 1} more of "
            f"{len(cameras)} like that), but it has to be in both: unpack the data set again."
        )
    return sorted(cameras.index)


def split_by_camera(images: pd.DataFrame, test: Collection[str], query_camera: str) -> pd.DataFrame:
    """Give each image its split.

    Args:
        images: With `person_id` and `camera_id`.
        test: The people of the test: their images from the query camera are the queries, the others the gallery.
        query_camera: One of the cameras.

    Returns:
        The images with a column `split`, sorted by split (train, query, gallery) and otherwise in their order.

    Raises:
        ValueError: There is no such camera.
    """
    cameras = sorted(set(images["camera_id"]))
    require(query_camera in cameras, "query_camera", f"one of the cameras {', '.join(cameras)}", query_camera)
    tested, asks = images["person_id"].isin(set(test)), images["camera_id"] == query_camera
    split = np.select([tested & asks, tested], ["query", "gallery"], "train")
    return in_split_order(images.assign(split=split))


def describe_split(images: pd.DataFrame) -> str:
    """Name the sizes of a split: what a result says beside its numbers.

    Examples:
        >>> images = pd.DataFrame({"person_id": ["1", "2", "2", "3"], "split": ["train", "query", "gallery", "gallery"]})
        >>> describe_split(images)
        '1 training identities, 1 queried among 2'
    """
    train, query, gallery = (
        images.loc[images["split"] == split, "person_id"].nunique() for split in ("train", "query", "gallery")
    )
    return f"{train} training identities, {query} queried among {gallery}"
