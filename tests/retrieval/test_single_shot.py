import math

import numpy as np
import pytest
import torch
from sides import sides

from reid_lightning.errors import InputError
from reid_lightning.retrieval.ranking import rank
from reid_lightning.retrieval.single_shot import rank_single_shot


def loop(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras, draws, seed, policy):
    """Rank of the match, one draw, query and identity at a time."""
    ranks = np.full((draws, len(query)), math.nan)
    for draw in range(draws):
        priority = np.random.default_rng([seed, draw]).random(len(gallery)).tolist()
        for i, q in enumerate(query):
            images = {}
            for j in range(len(gallery)):
                same = gallery_ids[j] == query_ids[i]
                known = query_cameras[i] != -1 and query_cameras[i] == gallery_cameras[j]
                if not (policy == "exclude_same_camera" and same and known):
                    images.setdefault(int(gallery_ids[j]), []).append(j)
            shown = {identity: max(rows, key=lambda j: priority[j]) for identity, rows in images.items()}
            if int(query_ids[i]) in shown:
                distance = {identity: round(math.dist(q, gallery[j]), 9) for identity, j in shown.items()}
                match = distance.pop(int(query_ids[i]))
                ranks[draw, i] = 1 + sum(other <= match for other in distance.values())
    return ranks


def problem(seed):
    generator = torch.Generator().manual_seed(seed)

    def integers(low, high, count):
        return torch.randint(low, high, (count,), generator=generator)

    queries, images = 1 + seed % 9, 3 + seed % 40
    features = torch.randn(queries + images, 3, generator=generator, dtype=torch.float64)
    if seed % 2:
        features = features.round()  # ties
    ids, cameras = integers(0, 7, queries + images), integers(-1, 3, queries + images)
    return (
        features[:queries],
        features[queries:],
        ids[:queries],
        ids[queries:],
        cameras[:queries],
        cameras[queries:],
    )


def test_random_problems_equal_the_plain_loop():
    compared = 0
    for seed in range(120):
        columns = problem(seed)
        policy = "allow" if seed % 3 == 0 else "exclude_same_camera"
        expected = loop(*(column.tolist() for column in columns), draws=4, seed=seed, policy=policy)
        options = {"draws": 4, "seed": seed, "distance": "euclidean", "camera_policy": policy}
        if np.isnan(expected).all():
            with pytest.raises(InputError, match=r"None of the \d+ queries"):
                rank_single_shot(*sides(*columns), **options)
            continue
        ranking = rank_single_shot(*sides(*columns), **options, chunk_size=1 + seed % 4)
        assert np.array_equal(ranking.match_ranks.numpy(), expected, equal_nan=True)
        found = expected[:, ~np.isnan(expected[0])]
        rates = {k: (found <= k).mean(axis=1) for k in (1, 2)}
        summary = ranking.summary((1, 2))
        for k, rate in rates.items():
            assert summary[f"rank{k}"] == pytest.approx(rate.mean(), abs=1e-12)
            assert summary[f"rank{k}_std"] == pytest.approx(rate.std(ddof=1), abs=1e-12)
        assert summary["mAP"] == pytest.approx((1 / found).mean(), abs=1e-12)
        assert summary["mAP_std"] == pytest.approx((1 / found).mean(axis=1).std(ddof=1), abs=1e-12)
        assert summary["queries_without_match"] == len(columns[0]) - found.shape[1]
        compared += 1
    assert compared > 100


def test_one_image_a_person_is_the_ordinary_ranking():
    generator = torch.Generator().manual_seed(0)
    query, gallery = torch.randn(2, 30, 4, generator=generator)
    ids = torch.arange(30)
    expected = rank(*sides(query, gallery, ids, ids))
    ranking = rank_single_shot(*sides(query, gallery, ids, ids), draws=3)
    for name, column in vars(expected).items():
        torch.testing.assert_close(getattr(ranking, name), column, rtol=0, atol=1e-12)
    summary = ranking.summary()
    for name in ("mAP", "rank1", "rank5", "rank10", "rank20"):
        assert summary.pop(f"{name}_std") == pytest.approx(0, abs=1e-12)
    assert summary == pytest.approx(expected.summary())


def test_draws_follow_the_seed_and_one_draw_has_no_spread():
    columns = problem(33)
    first, again, other = (
        rank_single_shot(*sides(*columns), draws=20, seed=seed, camera_policy="allow").match_ranks
        for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    fewer = rank_single_shot(*sides(*columns), draws=1, seed=5, camera_policy="allow")
    assert torch.equal(fewer.match_ranks, first[:1])
    assert not any(name.endswith("_std") for name in fewer.summary())
    with pytest.raises(ValueError, match="draws must be >= 1, got 0"):
        rank_single_shot(*sides(*columns), draws=0)


def test_every_image_is_drawn_equally_often():
    gallery = torch.eye(6)
    ids = torch.tensor([1, 1, 1, 2, 2, 2])
    # A query for each image of person 1: it is found first if it is drawn itself (the others are as far as the wrong one).
    ranking = rank_single_shot(*sides(gallery[:3], gallery, ids[:3], ids), draws=6000)
    rates = (ranking.match_ranks == 1).double().mean(dim=1)
    assert rates == pytest.approx(torch.full((6000,), 1 / 3).double())  # one of the three in every draw
    shares = (ranking.match_ranks == 1).double().mean(dim=0)
    assert shares == pytest.approx(torch.full((3,), 1 / 3).double(), abs=0.025)  # four standard errors
