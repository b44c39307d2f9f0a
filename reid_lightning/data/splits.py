"""Which identities are held out, and which of their images are queries."""

from collections import defaultdict

import numpy as np
import pandas as pd

from reid_lightning.data.table import identity_keys
from reid_lightning.errors import InputError


def choose_identities(keys: pd.Series, fraction: float, seed: int) -> set[str]:
    """Draw a fraction of the different keys; the same keys and seed give the same draw in any row order.

    Args:
        keys: Identity of each row.
        fraction: Share of the identities, rounded to whole ones.
        seed: Another seed gives another draw.
    """
    names = np.array(sorted(keys.unique()), dtype=object)
    count = round(fraction * len(names))
    return set(np.random.default_rng(seed).permutation(names)[:count])


def choose_queries(
    identities: np.ndarray, cameras: np.ndarray, seed: int, tracklets: np.ndarray | None = None
) -> np.ndarray:
    """Mark one image per identity and camera as a query, as Market-1501 does; the others are the gallery.

    An image becomes a query only while every query of its identity keeps a true match from another camera in
    the gallery. Without cameras, or with one camera only, it is one image per identity. An identity with a
    single image stays in the gallery.

    Args:
        identities: Identity codes, (N,).
        cameras: Camera codes, (N,), -1 where unknown.
        seed: Which image of a camera is drawn.
        tracklets: Tracklet codes, (N,), -1 where unknown: the images of a tracklet are drawn together, as one.

    Returns:
        Boolean array, (N,).

    Examples:
        >>> choose_queries(np.array([5, 5, 5, 5, 8]), np.array([0, 0, 1, 1, 0]), seed=0).sum()
        np.int64(2)
    """
    if tracklets is not None and (tracklets >= 0).any():
        alone = tracklets.max() + 1 + np.arange(len(tracklets))
        _, first, unit = np.unique(
            np.where(tracklets < 0, alone, tracklets), return_index=True, return_inverse=True
        )
        return choose_queries(identities[first], cameras[first], seed)[unit]
    shuffled = np.random.default_rng(seed).permutation(len(identities))
    by_identity: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, identity, camera in zip(
        shuffled.tolist(), identities[shuffled].tolist(), cameras[shuffled].tolist(), strict=True
    ):
        by_identity[identity][camera].append(row)
    is_query = np.zeros(len(identities), dtype=bool)
    for rows_by_camera in by_identity.values():
        is_query[_queries_of_identity(rows_by_camera)] = True
    return is_query


def draw_queries(count: int, rows: int, seed: int) -> np.ndarray:
    """Mark `count` random rows as queries.

    Raises:
        InputError: No row would be left for the gallery.
    """
    if not 0 < count < rows:
        raise InputError(
            f"data.validation_queries={count} must be between 1 and {rows - 1}, because the validation "
            f"identities have {rows} images and some of them form the gallery."
        )
    is_query = np.zeros(rows, dtype=bool)
    is_query[np.random.default_rng(seed).permutation(rows)[:count]] = True
    return is_query


def validation_queries(
    identities: np.ndarray, cameras: np.ndarray, tracklets: np.ndarray, count: int | None, seed: int
) -> np.ndarray:
    """Mark the queries among the validation images.

    Args:
        identities: Identity codes, (N,).
        cameras: Camera codes, (N,), -1 where unknown.
        tracklets: Tracklet codes, (N,), -1 where unknown.
        count: Number of random queries; None: as `choose_queries`.
        seed: Another one marks others.

    Returns:
        Boolean array, (N,).

    Raises:
        InputError: No row would be left for the gallery, or no query has a true match.
    """
    if count is not None:
        chosen = draw_queries(count, len(identities), seed)
    else:
        chosen = choose_queries(identities, cameras, seed, tracklets)
    if not chosen.any():
        raise InputError(
            "Every validation identity has a single image, so that no query has a true match: hold out "
            "more with data.validation, or train on all with data.validation=none."
        )
    return chosen


def _queries_of_identity(rows_by_camera: dict[int, list[int]]) -> list[int]:
    left = {camera: len(rows) for camera, rows in rows_by_camera.items()}
    queries: list[int] = []
    query_cameras: list[int] = []
    if -1 not in left:
        for camera, rows in rows_by_camera.items():
            left[camera] -= 1
            images = sum(left.values())
            if all(images - left[other] > 0 for other in [*query_cameras, camera]):
                queries.append(rows[0])
                query_cameras.append(camera)
            else:
                left[camera] += 1
    if not queries and sum(left.values()) > 1:
        queries.append(next(iter(rows_by_camera.values()))[0])
    return queries


def hold_out(table: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Turn the training rows of a share of the training identities into validation rows.

    Args:
        table: Sources put together; it is changed.
        share: Of the identities, 0 to 1.
        seed: Another one holds out other identities.

    Raises:
        InputError: Fewer than two identities would be held out.
    """
    keys = identity_keys(table)
    train = (table["split"] == "train") & keys.notna()
    if not train.any():
        return table
    chosen = choose_identities(keys[train], share, seed)
    if len(chosen) < 2:
        raise InputError(
            f"data.validation={share} of {keys[train].nunique()} training identities holds out "
            f"{len(chosen)}, and validation needs at least 2: raise it, or train on all with "
            "data.validation=none."
        )
    table["split"] = table["split"].mask(train & keys.isin(chosen), "val")
    return table
