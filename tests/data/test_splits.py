import numpy as np
import pandas as pd
import pytest

from reid_lightning.data.splits import choose_identities, choose_queries, draw_queries
from reid_lightning.errors import InputError


def codes(*images):
    """Return identities and cameras of (identity, camera, images) triples."""
    rows = [(identity, camera) for identity, camera, count in images for _ in range(count)]
    return np.array(rows).T


def test_identities_depend_on_the_names_and_the_seed_only():
    keys = pd.Series([f"a/{person}" for person in range(100)])
    chosen = choose_identities(keys, 0.2, seed=3)
    assert len(chosen) == 20
    assert choose_identities(keys[::-1].repeat(2), 0.2, seed=3) == chosen
    assert choose_identities(keys, 0.2, seed=4) != chosen


def test_one_query_per_identity_and_camera():
    identities, cameras = codes((1, 0, 3), (1, 1, 2), (2, 1, 2), (2, 4, 5), (2, 5, 2))
    is_query = choose_queries(identities, cameras, seed=0)
    queries = sorted(zip(identities[is_query].tolist(), cameras[is_query].tolist(), strict=True))
    assert queries == [(1, 0), (1, 1), (2, 1), (2, 4), (2, 5)]


def test_without_cameras_one_query_per_identity():
    identities, cameras = codes((1, -1, 3), (2, -1, 2), (3, -1, 1), (4, 0, 2), (4, -1, 2))
    is_query = choose_queries(identities, cameras, seed=0)
    assert identities[is_query].tolist() == [1, 2, 4]  # a single image stays in the gallery


def test_one_camera_still_gives_one_query():
    identities, cameras = codes((1, 0, 3), (2, 0, 1))
    assert choose_queries(identities, cameras, seed=0).sum() == 1


@pytest.mark.parametrize("seed", range(50))
def test_every_query_keeps_a_match_from_another_camera(seed):
    generator = np.random.default_rng(seed)
    identities, cameras = generator.integers(0, 6, 40), generator.integers(0, 4, 40)
    is_query = choose_queries(identities, cameras, seed)
    for query in np.flatnonzero(is_query):
        same = identities == identities[query]
        if len(np.unique(cameras[same])) > 1:
            assert (same & ~is_query & (cameras != cameras[query])).any()
    for identity in np.unique(identities):
        per_camera = np.unique(cameras[is_query & (identities == identity)], return_counts=True)[1]
        assert per_camera.max(initial=0) <= 1
        if (identities == identity).sum() > 1:
            assert per_camera.sum() >= 1


def test_the_seed_chooses_the_image():
    identities, cameras = codes((1, 0, 50), (1, 1, 50))
    first, again, other = (choose_queries(identities, cameras, seed).tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_random_queries():
    assert draw_queries(100, 150, seed=0).sum() == 100
    with pytest.raises(InputError, match="validation_queries=150 must be between 1 and 149"):
        draw_queries(150, 150, seed=0)


@pytest.mark.parametrize("seed", range(20))
def test_tracklets_are_drawn_as_one(seed):
    generator = np.random.default_rng(seed)
    tracklets = np.sort(generator.integers(-3, 15, 60)).clip(-1)  # some images have none
    identities, cameras = np.where(tracklets < 0, generator.integers(0, 4, 60), tracklets % 4), tracklets % 3
    is_query = choose_queries(identities, cameras, seed, tracklets)
    known = np.unique(tracklets[tracklets >= 0])
    assert all(len(set(is_query[tracklets == tracklet])) == 1 for tracklet in known)
    _, units = np.unique(np.where(tracklets < 0, -1 - np.arange(60), tracklets), return_index=True)
    per_camera = {}
    for row in units[is_query[units]]:
        key = (identities[row], cameras[row])
        per_camera[key] = per_camera.get(key, 0) + 1
    assert per_camera
    assert max(per_camera.values()) == 1


def test_tracklets_of_one_image_change_nothing():
    identities, cameras = codes((1, 0, 5), (1, 1, 4), (2, 0, 3), (2, 1, 6))
    plain, single = (choose_queries(identities, cameras, 3, tracklets) for tracklets in (None, np.arange(18)))
    assert plain.tolist() == single.tolist()
