"""The share of pairs that show one person, from distances alone."""

import numpy as np
import pytest
import torch
from scipy.special import logit
from scipy.stats import norm

from reid_lightning.distances import pairwise_distances
from reid_lightning.errors import InputError
from reid_lightning.retrieval.curves import IsotonicCurve, LogisticCurve
from reid_lightning.retrieval.prior import drawn_distances, estimated_prior, even_distance
from reid_lightning.retrieval.verification import PairDistances

SAME, DIFFERENT = norm(0.4, 0.1), norm(0.8, 0.1)  # equal deviations: the log odds are a line


def line():
    """The curve that is true of these two."""
    slope = (0.8 - 0.4) / 0.1**2
    return LogisticCurve(slope, slope * 0.6)


def drawn(prior, count, seed=0):
    draw = np.random.default_rng(seed)
    same = draw.random(count) < prior
    return np.where(same, SAME.rvs(count, random_state=draw), DIFFERENT.rvs(count, random_state=draw))


@pytest.mark.parametrize("prior", [0.5, 0.05, 0.003])
def test_the_share_of_a_known_mixture_is_found(prior):
    count = 400_000
    error = np.sqrt(prior * (1 - prior) / count)
    assert estimated_prior(line(), drawn(prior, count)) == pytest.approx(prior, abs=6 * error)


def test_it_is_where_expectation_maximization_ends():
    distances = drawn(0.1, 5000)
    probability = line().probability(distances)
    prior = 0.5
    for _ in range(2000):
        odds = prior / (1 - prior) * probability / (1 - probability)
        prior = float(np.mean(odds / (1 + odds)))
    assert estimated_prior(line(), distances) == pytest.approx(prior, abs=1e-6)


def test_an_isotonic_curve_serves_as_well():
    pairs = PairDistances(SAME.rvs(5000, random_state=1), DIFFERENT.rvs(5000, random_state=2))
    assert estimated_prior(IsotonicCurve.fit(pairs), drawn(0.02, 200_000)) == pytest.approx(0.02, rel=0.1)


def test_nobody_and_everybody():
    assert estimated_prior(line(), np.full(100, 0.9)) == 0.0
    assert estimated_prior(line(), np.full(100, 0.1)) == 1.0
    assert even_distance(line(), 0.0) == 0.0
    assert even_distance(line(), 1.0) == np.inf
    with pytest.raises(InputError, match="no pairs"):
        estimated_prior(line(), np.array([]))
    with pytest.raises(InputError, match="say nothing of who is who"):
        even_distance(LogisticCurve(0.0, 0.0), 0.5)


def test_at_the_even_distance_the_posterior_is_one_half():
    for prior in (0.4, 0.01):
        found = even_distance(line(), prior)
        odds = logit(line().probability(np.array(found))) + logit(prior)
        assert odds == pytest.approx(0, abs=1e-9)
        assert prior * SAME.pdf(found) == pytest.approx((1 - prior) * DIFFERENT.pdf(found))


def test_each_pair_is_drawn_once():
    vectors = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    far = pairwise_distances(vectors, vectors, "cosine").double().numpy()[np.triu_indices(50, 1)]
    np.testing.assert_allclose(np.sort(drawn_distances(vectors)), np.sort(far), atol=1e-6)
    fewer = drawn_distances(vectors, most=200)
    assert 130 < len(fewer) < 270
    assert np.abs(np.sort(far)[:, None] - fewer).min(axis=0).max() < 1e-6
    with pytest.raises(InputError, match="One image has no pairs"):
        drawn_distances(vectors[:1])
