"""Scores of distributions and intervals, against integration, scipy and scoringrules."""

from itertools import pairwise

import numpy as np
import pytest
import scoringrules
from scipy.integrate import quad
from sklearn.linear_model import LogisticRegression

from skage import AgeBinner, AgeEnsemble, BinnedAgeRegressor, metrics
from skage.metrics import _distributions
from skage.metrics._distributions import crps_values, nll_values

BINNERS = {
    "balanced": lambda y: AgeBinner(12).fit(y),
    "uniform": lambda y: AgeBinner(9, strategy="uniform").fit(y),
    "midpoint": lambda y: AgeBinner(7, representative="midpoint").fit(y),
    "gaps": lambda y: AgeBinner(4).fit([1, 1, 2, 2, 30, 31, 60, 61, 80]),
    "edges": lambda y: AgeBinner([0, 10, 20, 50, 100]).fit(y),
    "one": lambda y: AgeBinner(1).fit([30, 30.0]),
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=BINNERS)
def binner(request, rng):
    ages = np.round(rng.gamma(3, 12, 300)).clip(0, 100)
    return BINNERS[request.param](ages)


@pytest.fixture
def example(binner, rng):
    """Ages, some on corners of the density and some outside, and distributions."""
    corners = binner.bin_support_.ravel()
    outside = [binner.bin_support_[0, 0] - 7, binner.bin_support_[-1, 1] + 11]
    values = binner.bin_values_
    y = np.concatenate([corners, outside, values, np.round(rng.uniform(0, 90, 20))])
    p = rng.dirichlet(np.full(binner.n_bins_, 0.5), len(y))
    return y, p, binner


def cdf(binner, p, x):
    return binner.cdf(p[None], [x])[0, 0]


def test_the_crps_is_the_integral(example):
    y, p, binner = example
    found = crps_values(y, p, binner)
    corners = np.unique(np.append(binner.bin_support_, binner.bin_values_))
    for i in range(len(y)):
        ends = np.unique(np.append(corners, y[i]))
        parts = [
            quad(lambda x, i=i: (cdf(binner, p[i], x) - (x >= y[i])) ** 2, a, b)[0]
            for a, b in pairwise(ends)
        ]
        assert found[i] == pytest.approx(sum(parts), abs=1e-8)


def test_the_crps_is_scoringrules(example):
    y, p, binner = example
    levels = (np.arange(2000) + 0.5) / 2000
    draws = np.stack([binner.quantile(p, level) for level in levels], axis=1)
    expected = scoringrules.crps_ensemble(y, draws)
    assert crps_values(y, p, binner) == pytest.approx(expected, abs=0.01)


def test_the_crps_of_one_age_is_the_absolute_error():
    binner = AgeBinner([0, 1, 40, 40.0001], representative="midpoint").fit([0, 20, 40.0001])
    found = crps_values([10.0, 70.0], [[0, 0, 1], [0, 0, 1]], binner)
    assert found == pytest.approx([30, 30], abs=1e-3)


def test_the_density_is_the_slope_of_the_distribution_function(example):
    y, p, binner = example
    corners = np.append(binner.bin_support_, binner.bin_values_)
    inside = np.abs(y[:, None] - corners).min(axis=1) > 1e-3
    h = 1e-4
    slopes = np.array(
        [
            (cdf(binner, q, x + h) - cdf(binner, q, x - h)) / (2 * h)
            for x, q in zip(y, p, strict=True)
        ]
    )
    expected = -np.log(np.maximum(slopes, 1e-6))
    assert nll_values(y, p, binner)[inside] == pytest.approx(expected[inside], abs=1e-4)


def test_the_density_at_corners_is_that_of_the_piece_above():
    binner = AgeBinner([0, 20, 40], representative="midpoint").fit([10, 30])
    p = [[0.2, 0.8]] * 6
    density = np.exp(-nll_values([-0.1, 0, 19.9, 20, 40, 40.1], p, binner))
    assert density == pytest.approx([1e-6, 0.01, 0.01, 0.04, 0.04, 1e-6])


def test_an_age_outside_counts_as_the_smallest_density():
    binner = AgeBinner([0, 20, 40], representative="midpoint").fit([10, 30])
    score = metrics.negative_log_likelihood([70], [[0.5, 0.5]], binner)
    assert score == pytest.approx(-np.log(1e-6))
    score = metrics.negative_log_likelihood([70], [[0.5, 0.5]], binner, min_density=1e-3)
    assert score == pytest.approx(-np.log(1e-3))
    with pytest.raises(ValueError, match="min_density=0 must be above 0"):
        metrics.negative_log_likelihood([70], [[0.5, 0.5]], binner, min_density=0)


def test_pit_values_are_the_binners_distribution_function(example):
    y, p, binner = example
    expected = [cdf(binner, q, x) for x, q in zip(y, p, strict=True)]
    assert metrics.pit_values(y, p, binner) == pytest.approx(expected)


def test_the_calibration_error_is_the_distance_from_uniform_values(rng):
    binner = AgeBinner(10, strategy="uniform", representative="midpoint").fit([0, 100])
    p = rng.dirichlet(np.ones(10), 4000)
    y = draw(binner, p, rng)
    assert metrics.calibration_error(y, p, binner) < 0.02
    pit = metrics.pit_values(y, p, binner)
    levels = np.arange(1, 100) / 100
    ecdf = np.searchsorted(np.sort(pit), levels, side="right") / len(pit)
    expected = np.abs(ecdf - levels).mean()
    assert metrics.calibration_error(y, p, binner) == pytest.approx(expected)
    assert metrics.calibration_error(y + 20, p, binner) > 0.1
    assert metrics.calibration_error(np.full(5, 200.0), p[:5], binner) == pytest.approx(0.5)


def test_whole_years_spread_over_their_year():
    binner = AgeBinner([0.5, 1.5, 2.5], representative="midpoint").fit([1, 2])
    y, p = [1, 2], [[1.0, 0.0], [0.0, 1.0]]
    assert metrics.calibration_error(y, p, binner) == pytest.approx(0.25, abs=0.01)
    assert metrics.calibration_error(y, p, binner, age_step=1) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="age_step=-1"):
        metrics.calibration_error(y, p, binner, age_step=-1)


def test_the_probability_over_a_limit(example):
    _, p, binner = example
    expected = [1 - cdf(binner, q, 18.0) for q in p]
    assert metrics.over_limit_probability(p, binner) == pytest.approx(expected, abs=1e-12)
    p[0] = np.nan
    assert np.isnan(metrics.over_limit_probability(p, binner)[0])
    with pytest.raises(ValueError, match="limit"):
        metrics.over_limit_probability(p, binner, np.nan)


def test_ensembles_have_the_same_scores_as_their_only_member(rng):
    X, y = rng.normal(size=(200, 3)), np.round(rng.uniform(1, 80, 200))
    member = BinnedAgeRegressor(LogisticRegression(), AgeBinner(8))
    other = BinnedAgeRegressor(LogisticRegression(), AgeBinner(5))
    model = AgeEnsemble([("a", member), ("b", other)], weights=[1, 0]).fit(X, y)
    alone = member.fit(X, y)
    for of_rows in (crps_values, nll_values, metrics.pit_values):
        found, expected = (of_rows(y, m.predict_dist(X), m.binner_) for m in (model, alone))
        assert found == pytest.approx(expected, abs=1e-6)


def test_chunks_change_nothing(example, monkeypatch):
    y, p, binner = example
    expected = crps_values(y, p, binner)
    monkeypatch.setattr(_distributions, "_CHUNK", 1)
    np.testing.assert_array_equal(crps_values(y, p, binner), expected)


def test_single_precision_is_enough(example):
    y, p, binner = example
    found = crps_values(y, p.astype(np.float32), binner)
    assert found == pytest.approx(crps_values(y, p, binner), rel=1e-5)


OF_DISTRIBUTIONS = [metrics.crps, metrics.negative_log_likelihood, metrics.calibration_error]


@pytest.mark.parametrize("metric", OF_DISTRIBUTIONS)
def test_weights_of_distributions_are_repetitions(metric, example, rng):
    y, p, binner = example
    counts = rng.integers(0, 4, len(y))
    expected = metric(np.repeat(y, counts), np.repeat(p, counts, axis=0), binner)
    assert metric(y, p, binner, sample_weight=counts) == pytest.approx(expected)
    assert np.isfinite(metric(y[:1], p[:1], binner))


@pytest.mark.parametrize("metric", [*OF_DISTRIBUTIONS, metrics.pit_values])
def test_bad_distributions_are_errors(metric):
    binner = AgeBinner(2).fit([20, 40])
    good = [[0.5, 0.5], [0.5, 0.5]]
    for y, p, message in (
        ([20, np.nan], good, r"y_true\[1\] is nan"),
        ([20], good, "inconsistent"),
        ([20, 30], [[0.5, 0.5], [np.nan, np.nan]], r"distribution\[1\] is NaN: 1 of 2 images"),
        ([20, 30], [[0.5, 0.5], [0.5, 0.6]], "Row 1 is not a distribution"),
        ([20, 30], [[1.0], [1.0]], "one column for each bin"),
    ):
        with pytest.raises(ValueError, match=message):
            metric(y, p, binner)
    with pytest.raises(ValueError, match="not fitted"):
        metric([20, 30], good, AgeBinner(2))


@pytest.fixture
def intervals(rng):
    y = np.round(rng.uniform(0, 90, 300))
    low = np.round(y + rng.normal(-5, 5, 300))
    return y, np.stack([low, low + rng.integers(0, 15, 300)], axis=1)


def test_intervals_are_scored_as_by_scoringrules(intervals):
    y, interval = intervals
    for coverage in (0.5, 0.9):
        expected = scoringrules.interval_score(y, *interval.T, 1 - coverage).mean()
        assert metrics.winkler_score(y, interval, coverage) == pytest.approx(expected)
    covered = [a <= t <= b for t, (a, b) in zip(y, interval, strict=True)]
    assert metrics.interval_coverage(y, interval) == np.mean(covered)
    assert metrics.interval_width(y, interval) == np.mean([b - a for a, b in interval])


OF_INTERVALS = [metrics.interval_coverage, metrics.interval_width, metrics.winkler_score]


@pytest.mark.parametrize("metric", OF_INTERVALS)
def test_weights_of_intervals_are_repetitions(metric, intervals, rng):
    y, interval = intervals
    counts = rng.integers(0, 4, len(y))
    expected = metric(np.repeat(y, counts), np.repeat(interval, counts, axis=0))
    assert metric(y, interval, sample_weight=counts) == pytest.approx(expected)


@pytest.mark.parametrize("metric", OF_INTERVALS)
@pytest.mark.parametrize(
    ("interval", "message"),
    [
        ([[1, 2], [1, np.nan]], r"interval\[:, 1\]\[1\] is nan"),
        ([[1, 2], [3, 2]], r"interval\[1\] has a lower bound of 3 above"),
        ([[1, 2]], "inconsistent"),
        ([1, 2], r"got shape \(2,\)"),
        ([[1, 2, 3], [1, 2, 3]], r"got shape \(2, 3\)"),
    ],
)
def test_bad_intervals_are_errors(metric, interval, message):
    with pytest.raises(ValueError, match=message):
        metric([20, 30], interval)


@pytest.mark.parametrize("coverage", [0, 1, 90, np.nan, "0.9"])
def test_a_coverage_is_between_0_and_1(coverage):
    with pytest.raises(ValueError, match=r"coverage=.* must lie between 0 and 1"):
        metrics.winkler_score([20], [[10, 30]], coverage)


def draw(binner, p, rng):
    """Draw an age from each distribution."""
    levels = rng.uniform(size=len(p))
    return np.array(
        [binner.quantile(q[None], level)[0] for q, level in zip(p, levels, strict=True)]
    )
