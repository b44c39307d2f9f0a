"""Training images whose people are not known, or are taken to be unknown: what is set aside, and what is left."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from reid_lightning.data.table import tracklet_keys


def is_unlabelled(unlabelled: bool | Sequence[str], sources: Iterable[str]) -> bool | tuple[str, ...]:
    """Return the setting in one form: whether everything, or which sources, train without identities.

    Args:
        unlabelled: The setting.
        sources: Names of the sources that train.

    Raises:
        ValueError: It is neither true, false nor a list of names of sources.

    Examples:
        >>> is_unlabelled(["shop"], ["market1501", "shop"])
        ('shop',)
    """
    if isinstance(unlabelled, bool):
        return unlabelled
    names = [unlabelled] if isinstance(unlabelled, str) else list(unlabelled or ())
    known = list(sources)
    strange = [str(name) for name in names if name not in known]
    if strange:
        raise ValueError(
            f"unlabelled must be true, false or a list of sources ({', '.join(known)}), got {', '.join(strange)}"
        )
    return tuple(names) if names else False


def set_aside(table: pd.DataFrame, unlabelled: bool | Sequence[str]) -> pd.DataFrame:
    """Return a table whose unlabelled training rows have no identity; everything else keeps its own.

    Args:
        table: Sources put together.
        unlabelled: True for all sources, or their names.

    Examples:
        >>> rows = pd.DataFrame({"person_id": ["7", "8"], "split": ["train", "query"], "source": ["a", "a"]})
        >>> set_aside(rows, True)["person_id"].tolist()
        [<NA>, '8']
    """
    if not unlabelled:
        return table
    rows = table["split"] == "train"
    if unlabelled is not True:
        rows &= table["source"].isin(list(unlabelled))
    people = table["person_id"].astype("string")
    return table.assign(person_id=people.mask(rows))


def unlabelled_tracklets(table: pd.DataFrame, truth: pd.Series) -> np.ndarray:
    """Return a code of each row's tracklet, (N,) int64, -1 where it is not known.

    A data set that names its people counts tracklets within a person and a camera, so that one whose identities are set
    aside is told by them. Where nobody is known, a tracklet's name must be unique within its camera.

    Args:
        table: Sources put together, the identities set aside.
        truth: `source/person_id` before, missing where it was not known.
    """
    told = tracklet_keys(table.assign(person_id=truth))
    camera = table["camera_id"].astype("string").fillna("")
    untold = table["source"] + "//" + camera + "/" + table["tracklet_id"]
    return pd.factorize(told.fillna(untold), sort=True)[0].astype(np.int64)
