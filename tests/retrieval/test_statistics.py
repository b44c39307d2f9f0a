"""The bootstrap against closed forms and plain loops, and its coverage on simulated rankings."""

import itertools

import numpy as np
import pytest
from scipy import stats

from reid_lightning.errors import InputError
from reid_lightning.retrieval.statistics import (
    difference,
    difference_over_splits,
    holm,
    mean_interval,
    resample_people,
    word,
)


def simulate(
    generator, seeds, people, *, of_seed, of_person, noise, shared=False, gap=0.0, hard=0.5, per_person=(1, 7)
):
    """Return scores (2 x seeds, Q) in [0, 1] and people (Q,) of two options that differ by a known mean.

    A query's difficulty is shared by all runs; an option's taste in people by its seeds; `shared`: seed effects
    are the same for both options.
    """
    who = np.repeat(np.arange(people), generator.integers(*per_person, size=people))
    taste = of_person * generator.normal(size=(2, 1, people))[:, :, who]
    luck = of_seed * generator.normal(size=(1 if shared else 2, seeds, 1))
    own = 0.3 * of_seed * generator.normal(size=(2, seeds, 1)) if shared else 0.0
    difficulty = 0.1 * generator.normal(size=len(who))
    scores = hard + difficulty + taste + luck + own + noise * generator.normal(size=(2, seeds, len(who)))
    scores[0] += gap
    return scores.reshape(2 * seeds, -1), who


def compared(scores, who, replicates=400):
    seeds = len(scores) // 2
    drawn = resample_people(scores, who, replicates=replicates)
    return difference(drawn, range(seeds), range(seeds, 2 * seeds))


def coverage(times, *, gap=0.03, seed=0, replicates=300, **levels):
    """Return how often the interval holds the true difference."""
    generator, held = np.random.default_rng(seed), 0
    for _ in range(times):
        found = compared(*simulate(generator, gap=gap, **levels), replicates=replicates)
        held += found.low <= gap <= found.high
    return held / times


def test_resampling_is_a_plain_loop_over_people():
    scores, who = np.array([[0.1, 0.9, 0.4, 0.7], [0.2, 0.3, 0.5, 1.0]]), np.array(["b", "a", "b", "c"])
    drawn = resample_people(scores, who, replicates=50, seed=3)
    counts = np.random.default_rng(3).multinomial(3, [1 / 3] * 3, size=50)
    for replicate, count in zip(drawn.replicates, counts, strict=True):
        chosen = list(
            itertools.chain.from_iterable(
                np.flatnonzero(who == name).tolist() * int(times)
                for name, times in zip("abc", count, strict=True)
            )
        )
        np.testing.assert_allclose(replicate, scores[:, chosen].mean(axis=1))
    np.testing.assert_allclose(drawn.means, scores.mean(axis=1))
    assert drawn.people == 3


def test_one_query_a_person_and_no_spread_over_seeds_is_the_error_of_a_mean():
    generator = np.random.default_rng(1)
    gaps = generator.normal(0.02, 0.1, size=200)
    scores = np.vstack([0.5 + gaps] * 3 + [np.full(200, 0.5)] * 3)
    found = compared(scores, np.arange(200), replicates=20_000)
    expected = gaps.std(ddof=1) / np.sqrt(200)
    assert found.difference == pytest.approx(gaps.mean())
    assert found.standard_error == pytest.approx(expected, rel=0.02)
    low, high = stats.t.interval(0.95, 199, gaps.mean(), expected)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05 * expected)


def test_people_all_alike_leave_welchs_t_test_over_seeds():
    first, second = np.array([0.61, 0.58, 0.66]), np.array([0.50, 0.52, 0.55])
    scores = np.repeat(np.concatenate([first, second])[:, None], 40, axis=1)
    found = compared(scores, np.arange(40))
    oracle = stats.ttest_ind(first, second, equal_var=False)
    assert found.p_value == pytest.approx(oracle.pvalue)
    interval = oracle.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_queries_of_one_person_are_no_evidence_of_their_own():
    generator = np.random.default_rng(2)
    gaps = generator.normal(0.02, 0.1, size=50)
    once = np.vstack([0.5 + gaps, 0.5 + gaps, np.full((2, 50), 0.5)])
    alone = compared(once, np.arange(50))
    often = compared(np.repeat(once, 9, axis=1), np.repeat(np.arange(50), 9))
    assert often.standard_error == pytest.approx(alone.standard_error)
    naive = compared(np.repeat(once, 9, axis=1), np.arange(450))
    assert naive.standard_error < 0.4 * alone.standard_error


def test_variances_add_up_with_their_common_part_once():
    """Against the estimators of a balanced two-way layout, by the mean squares of an analysis of variance."""
    generator = np.random.default_rng(4)
    seeds, people = 4, 300
    gaps = (
        generator.normal(0, 0.02, (seeds, 1))
        + generator.normal(0, 0.1, people)
        + generator.normal(0, 0.3, (seeds, people))
    )
    scores = np.vstack([gaps, np.zeros_like(gaps)])
    found = compared(scores, np.arange(people), replicates=20_000)
    of_seed, of_person = gaps.mean(axis=1), gaps.mean(axis=0)
    rest = gaps - of_seed[:, None] - of_person + gaps.mean()
    interaction = (rest**2).sum() / ((seeds - 1) * (people - 1)) / (seeds * people)
    expected = of_seed.var(ddof=1) / seeds + of_person.var(ddof=1) / people - interaction
    assert found.standard_error**2 == pytest.approx(expected, rel=0.03)


def test_the_order_of_queries_and_seeds_does_not_matter_and_the_seed_repeats():
    generator = np.random.default_rng(5)
    scores, who = simulate(generator, 3, 30, of_seed=0.02, of_person=0.05, noise=0.1)
    found = compared(scores, who)
    assert compared(scores, who) == found
    order = generator.permutation(len(who))
    shuffled = compared(scores[[1, 2, 0, 4, 5, 3]][:, order], who[order])
    for name in ("difference", "low", "high", "p_value", "degrees_of_freedom"):
        assert getattr(shuffled, name) == pytest.approx(getattr(found, name))
    backwards = compared(scores[[3, 4, 5, 0, 1, 2]], who)
    assert backwards.difference == pytest.approx(-found.difference)
    assert (backwards.low, backwards.high) == pytest.approx((-found.high, -found.low))
    assert resample_people(scores, who, seed=1).replicates[0] != pytest.approx(
        resample_people(scores, who, seed=2).replicates[0]
    )


def test_what_one_seed_or_one_person_shows_is_unknown():
    generator = np.random.default_rng(6)
    scores, who = simulate(generator, 2, 30, of_seed=0.02, of_person=0.05, noise=0.1)
    drawn = resample_people(scores, who)
    lonely = difference(drawn, [0], [2, 3])
    assert lonely.difference == pytest.approx(scores[0].mean() - scores[2:].mean())
    assert np.isnan([lonely.low, lonely.high, lonely.p_value]).all()
    assert word(lonely.difference, lonely.p_value) == "unknown"
    same_person = resample_people(scores, np.zeros_like(who))
    assert np.isnan(difference(same_person, [0, 1], [2, 3]).p_value)


def test_equal_runs_are_not_distinguishable_and_certain_ones_are():
    half = np.full((4, 10), 0.5)
    assert compared(half, np.arange(10)).p_value == 1.0
    half[:2] = 1.0
    found = compared(half, np.arange(10))
    assert (found.difference, found.low, found.high, found.p_value) == (0.5, 0.5, 0.5, 0.0)


def test_holm_is_the_step_down_of_statistics_books():
    p_values = [0.01, 0.04, 0.03, 0.005]
    expected = {0.005: 0.02, 0.01: 0.03, 0.03: 0.06, 0.04: 0.06}
    assert holm(p_values).tolist() == pytest.approx([expected[p] for p in p_values])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert holm([]).size == 0


@pytest.mark.parametrize(
    ("scores", "people", "sentence"),
    [
        ([[0.1, 0.2]], ["a"], "do not fit"),
        ([0.1], ["a"], "do not fit"),
        ([[]], [], "do not fit"),
        ([[float("nan")]], ["a"], "without a true match"),
    ],
)
def test_scores_that_cannot_be_used(scores, people, sentence):
    with pytest.raises(InputError, match=sentence):
        resample_people(scores, people)


def test_an_option_without_runs_cannot_be_compared():
    drawn = resample_people([[0.1, 0.2]] * 3, ["a", "b"])
    with pytest.raises(InputError, match="options of 0 and 1 runs"):
        difference(drawn, [], [2])


def test_options_may_have_other_numbers_of_seeds():
    first, second = np.array([0.61, 0.58, 0.66, 0.6]), np.array([0.50, 0.52])
    drawn = resample_people(np.repeat(np.concatenate([first, second])[:, None], 40, axis=1), np.arange(40))
    oracle = stats.ttest_ind(first, second, equal_var=False)
    assert difference(drawn, range(4), [4, 5]).p_value == pytest.approx(oracle.pvalue)


def test_a_95_percent_interval_over_three_seeds_covers():
    levels = {"seeds": 3, "people": 60, "of_seed": 0.02, "of_person": 0.05, "noise": 0.15}
    assert 0.92 <= coverage(600, **levels) <= 0.97
    assert 0.92 <= coverage(600, **levels) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 8])
@pytest.mark.parametrize(
    ("of_seed", "of_person", "noise"),
    [(0.03, 0.02, 0.1), (0.01, 0.08, 0.1), (0.02, 0.05, 0.2), (0.02, 0.02, 0.2), (0.005, 0.03, 0.05)],
)
def test_coverage(seeds, of_seed, of_person, noise):
    """Seeds, people or single queries may make most of the chance."""
    levels = {"people": 80, "of_seed": of_seed, "of_person": of_person, "noise": noise}
    found = coverage(1000, seeds=seeds, replicates=200, seed=seeds, **levels)
    print(f"{seeds} seeds, {of_seed, of_person, noise}: {100 * found:.1f}")
    assert 0.92 <= found <= 0.97


@pytest.mark.slow
def test_coverage_is_cautious_where_only_single_queries_vary():
    """Three seeds cannot show that seeds make no difference, so the interval leaves room for them."""
    found = coverage(1000, seeds=3, people=80, of_seed=0.0, of_person=0.0, noise=0.2)
    assert 0.95 <= found <= 0.985


@pytest.mark.slow
def test_seeds_that_move_both_options_alike_leave_the_interval_too_wide_not_too_narrow():
    levels = {"seeds": 3, "people": 80, "of_seed": 0.02, "of_person": 0.05, "noise": 0.1}
    assert coverage(500, shared=True, **levels) >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 8])
def test_coverage_of_rank_1(seeds):
    """Rank-1 is 0 or 1 a query, near the upper end."""
    generator, held, times = np.random.default_rng(seeds), 0, 1000
    truth = None
    for _ in range(times):
        quality, who = simulate(
            generator, seeds, 80, of_seed=0.1, of_person=0.3, noise=0.5, hard=1.0, gap=0.3
        )
        found = compared((quality > 0).astype(float), who, replicates=200)
        spread = np.sqrt(0.1**2 + 0.1**2 + 0.3**2 + 0.5**2)
        truth = stats.norm.cdf(1.3 / spread) - stats.norm.cdf(1.0 / spread)
        held += found.low <= truth <= found.high
    assert 0.92 <= held / times <= 0.975


@pytest.mark.slow
def test_resampling_three_seeds_is_too_narrow():
    """Why seeds are not resampled: the percentiles of the plain hierarchical bootstrap miss far too often."""
    generator, held, times, gap = np.random.default_rng(0), 0, 400, 0.03
    for _ in range(times):
        scores, who = simulate(generator, 3, 60, of_seed=0.03, of_person=0.02, noise=0.1, gap=gap)
        drawn = resample_people(scores, who, replicates=500).replicates.reshape(500, 2, 3)
        chosen = generator.integers(3, size=(500, 2, 3))
        means = np.take_along_axis(drawn, chosen, axis=2).mean(axis=2)
        low, high = np.percentile(means[:, 0] - means[:, 1], [2.5, 97.5])
        held += low <= gap <= high
    assert held / times < 0.88


def covered_over_splits(interval, splits, people, share, times=1500):
    """Return how often an interval over random splits holds the mean of all people there could be."""
    generator, held, test = np.random.default_rng(0), 0, round(share * people)
    for _ in range(times):
        effects = generator.normal(size=people)
        gaps = [generator.permutation(effects)[:test].mean() for _ in range(splits)]
        low, high = interval(np.array(gaps))
        held += low <= 0 <= high
    return held / times


@pytest.mark.parametrize(("splits", "share"), [(10, 0.5), (5, 0.25), (20, 0.2)])
def test_coverage_over_random_splits(splits, share):
    """The variance of a mean over many splits is that of all people, test / train times the variance between splits."""

    def corrected(gaps):
        found = difference_over_splits(gaps, test_to_train=share / (1 - share))
        return found.low, found.high

    def plain(gaps):
        return stats.t.interval(0.95, len(gaps) - 1, gaps.mean(), stats.sem(gaps))

    assert 0.93 <= covered_over_splits(corrected, splits, 120, share) <= 0.97
    assert covered_over_splits(plain, splits, 120, share) < 0.87


def test_a_difference_over_splits_by_hand():
    gaps = np.array([0.01, 0.05, 0.03, 0.02])
    found = difference_over_splits(gaps, 0.5, level=0.9)
    error = np.sqrt((1 / 4 + 0.5) * np.var(gaps, ddof=1))
    assert found.difference == pytest.approx(0.0275)
    assert found.standard_error == pytest.approx(error)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.9, 3, 0.0275, error))
    assert found.p_value == pytest.approx(2 * stats.t.sf(0.0275 / error, 3))
    certain = difference_over_splits([0.02, 0.02])
    assert (certain.low, certain.high, certain.p_value) == (0.02, 0.02, 0.0)
    assert np.isnan(difference_over_splits([0.02]).p_value)


@pytest.mark.parametrize(
    ("gaps", "ratio"), [([], 1.0), ([0.1, np.nan], 1.0), ([0.1, 0.2], 0.0), ([[0.1]], 1.0)]
)
def test_splits_that_cannot_be_compared(gaps, ratio):
    with pytest.raises(InputError, match="differences over splits need finite gaps"):
        difference_over_splits(gaps, ratio)


def test_the_interval_of_a_mean_is_over_people():
    scores, people = [0.2, 0.4, 0.9, 0.5, float("nan")], ["a", "a", "b", "c", "d"]
    low, high = mean_interval(scores, people)
    apart = np.array(
        [0.2 + 0.4 - 2 * 0.5, 0.9 - 0.5, 0.0]
    )  # of each person's sum from what the mean makes expected
    reach = 4.302653 * np.sqrt(3 / 2 * np.square(apart).sum()) / 4  # Student's t with two degrees
    assert (low, high) == pytest.approx((max(0, 0.5 - reach), min(1, 0.5 + reach)))
    repeated = mean_interval(np.repeat([0.2, 0.5, 0.8], 50), np.repeat([1, 2, 3], 50))
    assert repeated == pytest.approx(
        mean_interval([0.2, 0.5, 0.8], [1, 2, 3])
    )  # more images are not more people


def test_one_person_has_no_interval():
    assert mean_interval([0.2, 0.4], ["a", "a"]) is None
    assert mean_interval([0.2, float("nan")], ["a", "b"]) is None


def test_the_interval_of_a_mean_covers_the_truth():
    draws = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        counts = draws.integers(1, 6, 30)
        people = np.repeat(np.arange(30), counts)
        scores = np.clip(draws.beta(2, 2, 30)[people] + draws.normal(0, 0.1, len(people)), 0, 1)
        low, high = mean_interval(scores, people)
        covered += low <= 0.5 <= high
    assert 0.92 <= covered / 400 <= 0.98
