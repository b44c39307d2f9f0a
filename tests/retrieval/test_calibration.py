"""Curves against scikit-learn, reliability against torchmetrics, strangers against random enrolments."""

import io
import json
import math

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from torchmetrics.functional.classification import binary_calibration_error

from reid_lightning.errors import InputError
from reid_lightning.retrieval.calibration import Calibration, judged
from reid_lightning.retrieval.curves import IsotonicCurve, LogisticCurve, at_prior, log_loss
from reid_lightning.retrieval.matches import Side
from reid_lightning.retrieval.reliability import reliability
from reid_lightning.retrieval.strangers import StrangerTable, nearest_people, stranger_thresholds
from reid_lightning.retrieval.verification import PairDistances, pair_distances


def pairs_of(seed=0, same=500, different=4000, apart=0.5):
    draw = np.random.default_rng(seed)
    return PairDistances(draw.gamma(4, 0.1, same), draw.gamma(9, 0.1, different) + apart - 0.5)


def people(count, images=6, seed=0, spread=1.0, start=0):
    """A query of each person, and a gallery."""
    draw = torch.Generator().manual_seed(seed)
    who = torch.arange(count).repeat_interleave(images)
    vectors = torch.randn(count, 16, generator=draw)[who] + spread * torch.randn(len(who), 16, generator=draw)
    rows = Side(vectors, who + start)
    is_query = torch.arange(len(who)) % images == 0
    return rows.select(is_query), rows.select(~is_query)


@pytest.mark.parametrize("seed", range(3))
def test_the_logistic_curve_is_that_of_scikit_learn_with_platts_targets(seed):
    pairs = pairs_of(seed, same=300, different=2000)
    counts = len(pairs.same), len(pairs.different)
    targets = (counts[0] + 1) / (counts[0] + 2), 1 / (counts[1] + 2)
    x = np.concatenate([*pairs, *pairs])[:, None]
    labels = np.repeat([1, 0], sum(counts))
    shares = np.repeat(targets, counts)
    weights = np.repeat([0.5 / count for count in counts], counts)
    weights = np.concatenate([weights * shares, weights * (1 - shares)])
    oracle = LogisticRegression(C=1e9, tol=1e-10, max_iter=10_000).fit(x, labels, 1e4 * weights)
    curve = LogisticCurve.fit(pairs)
    assert curve.slope == pytest.approx(-oracle.coef_[0, 0], rel=1e-3)
    assert curve.intercept == pytest.approx(oracle.intercept_[0], rel=1e-3)


def test_the_logistic_curve_stays_finite_and_never_rises():
    near, far = np.linspace(0, 1, 30), np.linspace(2, 3, 60)
    apart = LogisticCurve.fit(PairDistances(near, far)).probability(np.array([0.0, 1.5, 3.0]))
    assert 0.9 < apart[0] < 1
    assert 0 < apart[2] < 0.1
    turned = LogisticCurve.fit(PairDistances(far, near)).probability(np.array([0.0, 1.5, 3.0]))
    assert turned.tolist() == [0.5, 0.5, 0.5]
    equal = LogisticCurve.fit(PairDistances(np.ones(30), np.ones(60)))
    assert equal.probability(np.array([1.0]))[0] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("sizes", [(40, 200), (3000, 30_000)])
def test_the_isotonic_curve_is_that_of_scikit_learn(sizes):
    pairs = pairs_of(1, *sizes)
    x, labels = np.concatenate(pairs), np.repeat([1, 0], sizes)
    weights = np.repeat([0.5 / size for size in sizes], sizes)
    oracle = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(x, labels, weights)
    curve, asked = IsotonicCurve.fit(pairs), np.linspace(0, 3, 500)
    assert len(curve.distances) <= 200
    wanted = np.clip(oracle.predict(asked), 1 / (sizes[1] + 2), 1 - 1 / (sizes[0] + 2))
    assert np.abs(curve.probability(asked) - wanted).max() < 0.02
    assert (np.diff(curve.probability(asked)) <= 0).all()


def test_a_prior_is_bayes_rule():
    same, different, prior = 0.8, 0.2, 0.03  # densities at some distance
    half = same / (same + different)
    moved = at_prior(np.array([half]), prior)[0]
    assert moved == pytest.approx(same * prior / (same * prior + different * (1 - prior)))
    for wrong in (0, 1, -0.1, math.nan):
        with pytest.raises(InputError, match="prior must be between 0 and 1"):
            at_prior(np.array([0.5]), wrong)


def test_the_log_loss_of_the_true_curve_is_the_lowest():
    pairs = PairDistances(*np.random.default_rng(0).normal([[0.0], [1.0]], 0.5, (2, 4000)))
    fitted = LogisticCurve.fit(pairs)
    assert fitted.slope == pytest.approx(1 / 0.25, rel=0.1)  # of two normals: difference of means / variance
    for other in (LogisticCurve(2.0, 1.0), LogisticCurve(8.0, 4.0), LogisticCurve(fitted.slope, 0.0)):
        assert log_loss(fitted, pairs) < log_loss(other, pairs)


def test_reliability_is_that_of_torchmetrics():
    draw = np.random.default_rng(0)
    stated = draw.random(5000)
    same = draw.random(5000) < stated**2
    found = reliability(stated, same, bins=10)
    wanted = binary_calibration_error(torch.tensor(stated), torch.tensor(same), n_bins=10, norm="l1")
    assert found.error == pytest.approx(wanted.item(), abs=1e-6)
    assert found.counts.sum() == 5000


def test_reliability_at_a_prior_is_that_of_pairs_repeated():
    stated, same = np.array([0.1, 0.9, 0.7, 0.2, 0.4]), np.array([False, True, True, False, False])
    found = reliability(stated, same, prior=0.75, bins=4)  # 2 of one person and 3 of two: as 18 and 6
    repeated = reliability(np.repeat(stated, [2, 9, 9, 2, 2]), np.repeat(same, [2, 9, 9, 2, 2]), bins=4)
    assert found.error == pytest.approx(repeated.error)
    np.testing.assert_allclose(found.measured, repeated.measured)


def test_the_nearest_of_each_person_is_that_of_a_loop():
    query, gallery = people(7)
    found = nearest_people(query, gallery, images=99, distance="euclidean")
    far = torch.cdist(query.vectors, gallery.vectors)
    for person in range(7):
        wanted = far[:, gallery.person_ids == person].amin(dim=1)
        wanted[query.person_ids == person] = math.inf
        np.testing.assert_allclose(found[:, person], wanted, rtol=1e-4)
    one = nearest_people(query, gallery, images=1, distance="euclidean")
    assert (one >= found - 1e-6).all()
    columns = [far[:, gallery.person_ids == person].numpy() for person in range(7)]
    assert all(
        any(np.allclose(one[1:, 0], column[1:, image], rtol=1e-4) for image in range(5))
        for column in columns[:1]
    )


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_distance_to_each_mean_is_that_of_a_loop(distance):
    query, gallery = people(7)
    found = nearest_people(query, gallery, images=99, distance=distance, per_person="mean")
    normalize = torch.nn.functional.normalize if distance == "cosine" else lambda rows: rows
    for person in range(7):
        mean = normalize(gallery.vectors[gallery.person_ids == person]).mean(dim=0)
        cosine = 1 - torch.nn.functional.cosine_similarity(query.vectors, mean[None])
        wanted = cosine if distance == "cosine" else (query.vectors - mean).norm(dim=1)
        wanted[query.person_ids == person] = math.inf
        np.testing.assert_allclose(found[:, person], wanted, rtol=1e-4, atol=1e-5)
    one = [nearest_people(query, gallery, 1, distance, per_person=way) for way in ("all", "mean")]
    np.testing.assert_allclose(*one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("enrolled", [1, 3, 8])
def test_thresholds_are_those_of_random_enrolments(enrolled):
    draw = np.random.default_rng(0)
    nearest = draw.gamma(3, 1, (60, 9))
    nearest[np.arange(60), np.arange(60) % 9] = np.inf  # the query's own person
    smallest = np.concatenate(
        [
            draw.permutation(row[np.isfinite(row)])[:enrolled].min(keepdims=True)
            for row in nearest
            for _ in range(2000)
        ]
    )
    one_more = 1 / (60 * 8 / enrolled + 1)
    for rate, found in zip((0.5, 0.1), stranger_thresholds(nearest, enrolled, (0.5, 0.1)), strict=True):
        assert (smallest <= found).mean() == pytest.approx(rate - one_more, abs=0.02)


def test_images_of_one_stranger_count_as_one():
    nearest = np.random.default_rng(0).gamma(3, 1, (30, 9))
    once = stranger_thresholds(nearest, 4, (0.5, 0.1))
    often = stranger_thresholds(np.repeat(nearest, 7, axis=0), 4, (0.5, 0.1), np.arange(210) // 7)
    np.testing.assert_allclose(often, once)
    uneven = np.concatenate([nearest, nearest[:1].repeat(500, axis=0)])
    who = np.r_[np.arange(30), np.zeros(500, int)]
    np.testing.assert_allclose(stranger_thresholds(uneven, 4, (0.5, 0.1), who), once)


@pytest.mark.parametrize(("rate", "strangers"), [(0.1, 30), (0.02, 100), (0.01, 130)])
def test_no_more_others_come_through_than_asked_in_the_mean(rate, strangers):
    """Of distances from one law, the share of the law below the threshold, over many samples."""
    draw = np.random.default_rng(1)
    shares = [
        stranger_thresholds(draw.random((strangers, 1)), 1, (rate,))[
            0
        ]  # of uniform distances it is the share
        for _ in range(1500)
    ]
    assert rate - 1.1 / strangers < np.mean(shares) < 1.05 * rate  # as many as whole strangers can be
    assert math.isnan(stranger_thresholds(draw.random((strangers, 1)), 1, (0.9 / (strangers + 1),))[0])


def test_a_threshold_lets_the_asked_share_of_new_strangers_through():
    table = StrangerTable.measure(*people(150, seed=1), distance="euclidean")
    strangers, others = people(400, seed=2)
    rows = torch.arange(400)
    for enrolled in (10, 60):
        shares = []
        for draw in range(6):
            chosen = torch.randperm(400, generator=torch.Generator().manual_seed(draw))[:enrolled]
            known = others.select(torch.isin(others.person_ids, chosen))
            asked = strangers.select(~torch.isin(rows, chosen))
            far = torch.cdist(asked.vectors, known.vectors).amin(dim=1)
            threshold, measured = table.threshold(0.1, enrolled, 5)
            assert measured
            shares.append((far <= threshold).float().mean().item())
        assert 0.05 < np.mean(shares) < 0.2


def test_more_people_or_a_smaller_rate_narrow_the_threshold():
    table = StrangerTable.measure(*people(40), distance="euclidean")
    assert table.people[-1] == 39
    by_people = [table.threshold(0.1, number)[0] for number in (1, 2, 3, 10, 39, 100, 1000)]
    assert by_people == sorted(by_people, reverse=True)
    by_rate = [table.threshold(rate, 10)[0] for rate in (1, 0.6, 0.5, 0.3, 0.1, 0.07, 0.01)]
    assert by_rate == sorted(by_rate, reverse=True)
    assert by_rate[0] == math.inf
    assert table.threshold(0.1, 10, images=1) >= table.threshold(0.1, 10, images=4)
    assert not table.threshold(1e-4, 39)[1]
    assert not table.threshold(0.01, 10_000)[1]
    for wrong in ((0, 5), (1.5, 5), (math.nan, 5), (0.1, 0)):
        with pytest.raises(InputError, match="must be between 0 and 1"):
            table.threshold(*wrong)


def test_a_calibration_holds_for_people_that_it_has_not_seen():
    known, new = people(120, seed=3), people(300, seed=4)
    found = Calibration.fit(*known, distance="euclidean")
    pairs = pair_distances(*new, distance="euclidean")
    assert found.reliability(pairs).error < 0.03
    assert found.error < 0.05
    assert found.reliability(pairs, prior=0.01).error < 0.01
    for rate in (0.1, 0.03, 0.01):
        threshold = found.threshold(rate)
        assert rate / 1.5 < (pairs.different <= threshold).mean() < rate * 1.5
    assert (found.people, found.same_pairs, found.different_pairs) == (120, 600, 120 * 119 * 5)
    with pytest.raises(InputError, match="A false accept rate of 1e-06 was not measured"):
        found.threshold(1e-6)


@pytest.mark.parametrize("kind", ["logistic", "isotonic"])
def test_the_curve_that_fits_other_people_better_is_chosen(kind):
    draw = np.random.default_rng(0)

    def half():
        if kind == "logistic":  # two normals of one width, for which it is exact
            return PairDistances(draw.normal(1, 0.3, 100), draw.normal(2, 0.3, 1000))
        return PairDistances(draw.random(400), 0.5 + 2.5 * draw.random(4000))  # steps

    found, error = judged(half(), half())
    assert found == kind
    assert error < 0.1
    assert judged(half(), None) == ("logistic", None)


def test_too_few_pairs_are_not_calibrated():
    assert Calibration.fit(*people(3, images=3)) is None
    few = Calibration.fit(*people(8, images=4))
    assert few.kind == "logistic"
    assert few.error is None
    alone = people(6, images=6)
    assert Calibration.fit(*(side.select(side.person_ids == 2) for side in alone)) is None


def test_it_survives_json_and_refuses_what_is_not_one():
    found = Calibration.fit(*people(40))
    text = json.dumps(found.as_dict(), allow_nan=False)
    torch.save(found.as_dict(), file := io.BytesIO())
    file.seek(0)
    assert torch.load(file, weights_only=True) == found.as_dict()
    again = Calibration.from_dict(json.loads(text))
    assert again.as_dict() == found.as_dict()
    asked = np.linspace(0, 2, 50)
    assert np.array_equal(again.probability(asked, 0.1), found.probability(asked, 0.1))
    assert again.strangers.threshold(0.1, 20) == found.strangers.threshold(0.1, 20)
    assert again.strangers_to_means.threshold(0.1, 20, 4) == found.strangers_to_means.threshold(0.1, 20, 4)
    earlier = {name: value for name, value in found.as_dict().items() if name != "strangers_to_means"}
    assert Calibration.from_dict(earlier).strangers_to_means is None
    plain = found.as_dict()
    for change in (
        {"distance": "city"},
        {"kind": "spline"},
        {"people": "many"},
        {"error": math.nan},
        {"rates": [0.1, 0.5], "thresholds": [1, 2], "true_accepts": [1, 1]},
        {"thresholds": [1]},
        {"logistic": {"slope": -1, "intercept": 0}},
        {"logistic": None},
        {"isotonic": {"distances": [1, 0], "probabilities": [0.5, 0.4]}},
        {"isotonic": {"distances": [0, 1], "probabilities": [0.5, 0.9]}},
        {"isotonic": {"distances": [], "probabilities": []}},
        {"isotonic": {"distances": [0], "probabilities": [1.0]}},
        {"strangers": {"images": [1]}},
        {"strangers": {"images": [1], "people": [1], "rates": [0.1], "thresholds": [[]]}},
        {"strangers": 3},
        {"strangers_to_means": {"images": [1]}},
    ):
        with pytest.raises(InputError):
            Calibration.from_dict({**plain, **change})
    with pytest.raises(InputError, match="must be a mapping"):
        Calibration.from_dict([1])


def test_at_prior_agrees_with_odds():
    assert at_prior(np.array([0.3]), 0.2)[0] == pytest.approx(expit(logit(0.3) + logit(0.2)))
