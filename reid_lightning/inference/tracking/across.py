"""Who is the same person in several cameras, or came back after long: tracks joined by their vectors."""

from collections.abc import Sequence

import numpy as np
import torch

from reid_lightning.distances import Distance, pairwise_distances
from reid_lightning.inference.tracking.associate import Track


def join_tracks(
    cameras: Sequence[Sequence[Track]], threshold: float, distance: Distance = "cosine"
) -> list[list[int]]:
    """Give every track of every camera an id, the same one where they are likely to show one person.

    The two nearest groups of tracks are joined again and again (average linkage), but never two of the same camera that are
    seen at the same time.

    Args:
        cameras: Tracks of each camera.
        threshold: Largest distance of two groups, the mean over pairs of tracks.
        distance: How vectors are compared.

    Returns:
        Ids from 1 for the tracks of each camera, in the order of first frames of the groups.
    """
    tracks = [track for camera in cameras for track in camera]
    if not tracks:
        return [[] for _ in cameras]
    where = [number for number, camera in enumerate(cameras) for _ in camera]
    apart = _distances(tracks, where, distance)
    groups: list[list[int]] = [[row] for row in range(len(tracks))]
    while len(groups) > 1:
        first, second = sorted(int(place) for place in np.unravel_index(apart.argmin(), apart.shape))
        if not apart[first, second] <= threshold:
            break
        sizes = len(groups[first]), len(groups[second])
        joined = (sizes[0] * apart[first] + sizes[1] * apart[second]) / sum(sizes)  # infinite where either is
        joined[first] = np.inf
        apart[first], apart[:, first] = joined, joined
        apart = np.delete(np.delete(apart, second, axis=0), second, axis=1)
        groups[first] += groups.pop(second)
    ids = np.zeros(len(tracks), int)
    for number, group in enumerate(groups, start=1):
        ids[group] = number
    ends = np.cumsum([len(camera) for camera in cameras])[:-1]
    return [part.tolist() for part in np.split(ids, ends)]


def _distances(tracks: Sequence[Track], where: Sequence[int], distance: Distance) -> np.ndarray:
    """Return the distances of all tracks, (T, T), infinite to itself and where two cannot be one person."""
    vectors = torch.stack([track.mean_vector() for track in tracks]).double()
    apart = pairwise_distances(vectors, vectors, distance).numpy().copy()
    apart[np.isnan(apart)] = np.inf
    seen = [set(track.frames) for track in tracks]
    for row, frames in enumerate(seen):
        for other in range(row + 1):
            if other == row or (where[row] == where[other] and frames & seen[other]):
                apart[row, other] = apart[other, row] = np.inf
    return apart
