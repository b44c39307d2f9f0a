"""Verification against scikit-learn's ROC curve and a loop over all pairs."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve

from reid_lightning.distances import pairwise_distances
from reid_lightning.errors import InputError
from reid_lightning.retrieval.matches import Side
from reid_lightning.retrieval.verification import (
    PairDistances,
    accept_rates,
    equal_error_rate,
    pair_distances,
    roc,
    verification_scores,
)


def sides(seed=0, queries=40, gallery=90, people=8, cameras=3):
    draw = torch.Generator().manual_seed(seed)

    def side(count):
        who = torch.randint(people, (count,), generator=draw)
        return Side(
            torch.randn(people, 6, generator=torch.Generator().manual_seed(9))[who]
            + torch.randn(count, 6, generator=draw),
            who,
            torch.randint(-1, cameras, (count,), generator=draw),
        )

    return side(queries), side(gallery)


def pairs_of(seed, ties):
    draw = np.random.default_rng(seed)
    same, different = draw.normal(1.0, 0.5, 400), draw.normal(2.0, 0.5, 3000)
    return PairDistances(*(np.round(side, 1) if ties else side for side in (same, different)))


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize("policy", ["exclude_same_camera", "allow"])
def test_pairs_are_those_of_a_loop(distance, policy):
    query, gallery = sides()
    far = pairwise_distances(query.vectors.double(), gallery.vectors.double(), distance)
    same, different = [], []
    for q in range(len(query)):
        for g in range(len(gallery)):
            if query.person_ids[q] != gallery.person_ids[g]:
                different.append(far[q, g].item())
            elif (
                policy == "allow" or query.camera_ids[q] != gallery.camera_ids[g] or query.camera_ids[q] == -1
            ):
                same.append(far[q, g].item())
    found = pair_distances(query, gallery, distance=distance, camera_policy=policy)
    np.testing.assert_allclose(found.same, same, atol=1e-5)
    np.testing.assert_allclose(found.different, different, atol=1e-5)


def test_of_many_pairs_of_two_people_some_are_drawn_and_all_of_one_person_kept():
    query, gallery = sides(queries=300, gallery=400)
    every, some = pair_distances(query, gallery), pair_distances(query, gallery, most_different=10_000)
    assert np.array_equal(every.same, some.same)
    assert len(some.different) == pytest.approx(10_000 * len(every.different) / (300 * 400), rel=0.05)
    assert np.isin(some.different, every.different).all()
    assert some.different.mean() == pytest.approx(every.different.mean(), abs=0.02)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_curve_error_rate_and_area_are_those_of_scikit_learn(seed, ties):
    pairs = pairs_of(seed, ties)
    labels = np.concatenate([np.ones(len(pairs.same)), np.zeros(len(pairs.different))])
    false, true, thresholds = roc_curve(labels, -np.concatenate(pairs), drop_intermediate=False)
    curve = roc(pairs)
    np.testing.assert_allclose(curve.false_accepts, false)
    np.testing.assert_allclose(curve.true_accepts, true)
    np.testing.assert_allclose(curve.thresholds[1:], -thresholds[1:])
    expected = brentq(lambda rate: 1 - rate - np.interp(rate, false, true), 0, 1)
    assert equal_error_rate(curve) == pytest.approx(expected, abs=1e-9)
    scores = verification_scores(pairs, (1e-1, 1e-2, 1e-3))
    assert scores["auc"] == pytest.approx(roc_auc_score(labels, -np.concatenate(pairs)))
    for rate in (1e-1, 1e-2):  # the best point of the curve that accepts no more
        best = true[false <= rate + 1e-12].max()
        assert scores[f"tar_at_1e-{round(-np.log10(rate))}"] == pytest.approx(best)
    assert "tar_at_1e-3" not in scores  # 3 pairs of 3000
    assert (scores["same_pairs"], scores["different_pairs"]) == (400, 3000)


def test_a_threshold_accepts_no_larger_share():
    pairs = pairs_of(0, ties=True)
    for rate in accept_rates(pairs, (0.004, 0.1, 0.5, 1.0)):
        assert (pairs.different <= rate.threshold).mean() <= rate.false_accepts
        assert (pairs.same <= rate.threshold).mean() == rate.true_accepts


def test_a_perfect_distance_and_one_turned_round():
    near, far = np.array([0.1, 0.2]), np.array([0.3, 0.4, 0.5])
    assert equal_error_rate(roc(PairDistances(near, far))) == 0
    assert equal_error_rate(roc(PairDistances(far, near))) == 1
    equal = np.full(4, 0.5)
    assert equal_error_rate(roc(PairDistances(equal, equal))) == pytest.approx(0.5)


def test_what_cannot_be_measured_is_refused():
    some, none = np.array([0.1]), np.array([])
    for pairs in (PairDistances(some, none), PairDistances(none, some)):
        with pytest.raises(InputError, match="pairs of one person and of two"):
            roc(pairs)
        with pytest.raises(InputError, match="pairs of one person and of two"):
            accept_rates(pairs)
    with pytest.raises(ValueError, match="false_accepts must be between 0 and 1, got 2"):
        accept_rates(PairDistances(some, some), (2,))
