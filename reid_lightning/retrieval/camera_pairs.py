"""How well people of one camera are found among the images of another: the scores of every pair of cameras."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from reid_lightning.errors import InputError
from reid_lightning.retrieval.evaluation import EvaluationRows, rank_rows
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.retrieval.subset_scores import SubsetScores, subset_scores

Floats = NDArray[np.float64]
MOST_CAMERAS = 24
"""More make a table that nobody reads."""


@dataclass(frozen=True)
class PairScores(SubsetScores):
    """Queries of one camera against the gallery images of one camera, of those that have a true match there."""

    query_camera: int
    gallery_camera: int


@dataclass(frozen=True, eq=False)
class CameraPairs:
    """Scores of all pairs of cameras."""

    cameras: tuple[int, ...]
    """The gallery's cameras, rising."""
    average_precision: Floats
    """(Q, C) of every query among the images of each camera; NaN where it has no true match there."""
    pairs: tuple[PairScores, ...]
    """Those with a query that has a true match."""


def camera_pairs(rows: EvaluationRows, protocol: EvaluationProtocol) -> CameraPairs | None:
    """Rank every query among the images of each camera alone (Zheng et al. 2015, "Scalable Person Re-identification").

    Wrong images of other cameras do not count, so that the mean over the pairs is higher than the mAP.

    Args:
        rows: What was ranked.
        protocol: How it was compared; a re-ranking and single-shot draws are left out.

    Returns:
        None where nobody or no camera is known, or where there are more than `MOST_CAMERAS`.
    """
    gallery_cameras = rows.gallery.camera_ids
    cameras = [int(camera) for camera in torch.unique(gallery_cameras) if camera >= 0]
    if not rows.has_people or not 0 < len(cameras) <= MOST_CAMERAS:
        return None
    plain = replace(protocol, rerank=None, single_shot=None, map_at=())
    precision = np.full((int(rows.is_query.sum()), len(cameras)), np.nan)
    first = np.full_like(precision, np.nan)
    for place, camera in enumerate(cameras):
        try:
            ranking = rank_rows(rows.select(rows.is_query | (rows.camera_ids == camera)), plain)
        except InputError:  # no query has a true match there
            continue
        precision[:, place] = ranking.average_precision.numpy()
        first[:, place] = np.where(ranking.num_matches > 0, ranking.first_match_rank.numpy() == 1, np.nan)
    asked = rows.query.camera_ids.cpu().numpy()
    people = rows.query.person_ids.cpu().numpy()
    pairs = []
    for camera in sorted(set(asked[asked >= 0].tolist())):
        of_camera = asked == camera
        for place, other in enumerate(cameras):
            scores = subset_scores(precision[of_camera, place], first[of_camera, place], people[of_camera])
            if scores is not None:
                pairs.append(PairScores(**vars(scores), query_camera=camera, gallery_camera=other))
    return CameraPairs(tuple(cameras), precision, tuple(pairs))
