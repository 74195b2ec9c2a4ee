"""Figures of limits of age, against loops, scipy, scikit-learn and fairlearn."""

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from fairlearn.metrics import MetricFrame
from scipy.stats import binomtest

from skage import metrics


@pytest.fixture
def ages():
    rng = np.random.default_rng(0)
    y_true = np.concatenate([rng.uniform(8, 30, 1500), np.arange(8, 30)])
    return y_true, np.round(y_true + rng.normal(0, 4, len(y_true)), 1)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_binomial_intervals_are_scipys(confidence):
    pairs = [(k, n) for n in (1, 2, 7, 100) for k in range(0, n + 1, max(1, n // 7))]
    low, high = metrics.binomial_interval(*np.transpose(pairs), confidence)
    for i, (k, n) in enumerate(pairs):
        expected = binomtest(k, n).proportion_ci(confidence, method="exact")
        assert (low[i], high[i]) == pytest.approx(tuple(expected), abs=1e-12)
        assert metrics.binomial_interval(k, n, confidence) == pytest.approx((low[i], high[i]))


def test_ends_of_binomial_intervals_are_exact():
    assert metrics.binomial_interval(0, 0) == (0, 1)
    low, high = metrics.binomial_interval(0, 50)
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 50))  # exactly 0 of n
    low, high = metrics.binomial_interval([[50], [0]], 50)
    assert low.shape == high.shape == (2, 1)
    assert high[0, 0] == 1


@pytest.mark.parametrize(
    ("k", "n", "message"),
    [
        (3, 2, "k=3 of n=2 is not possible"),
        (-1, 2, "k=-1 of n=2"),
        ([0, 1], [5, -1], "k=1 of n=-1"),
        (0.5, 2, "whole numbers"),
        (np.nan, 2, "whole numbers"),
        ("1", 2, "whole numbers"),
    ],
)
def test_impossible_counts_are_errors(k, n, message):
    with pytest.raises(ValueError, match=message):
        metrics.binomial_interval(k, n)


def test_a_confidence_is_between_0_and_1():
    with pytest.raises(ValueError, match=r"confidence=95 must lie between 0 and 1"):
        metrics.binomial_interval(1, 2, 95)


@pytest.mark.parametrize("limit", [18, 16, 17.5])
def test_pass_rates_are_counts(ages, limit):
    y, p = ages
    table = metrics.pass_rates(y, p, limit=limit, challenge_ages=[limit, 20.5, 25])
    assert len(table) == 3 * (np.ceil(limit) - 8)
    for row in table.itertuples():
        of = (y >= row.age) & (y < row.age + 1) & (y < limit)
        assert row.n == of.sum()
        assert row.passed == (of & (p >= row.challenge_age)).sum()
        assert row.rate == row.passed / row.n
        expected = binomtest(row.passed, row.n).proportion_ci(0.95, method="exact")
        assert (row.low, row.high) == pytest.approx(tuple(expected))


def test_years_without_images_are_shown():
    table = metrics.pass_rates([14, 17.9, 18, 40], [30, 30, 30, 30], challenge_ages=[25])
    assert table.age.tolist() == [14, 15, 16, 17]
    assert table.n.tolist() == [1, 0, 0, 1]
    assert np.isnan(table.rate[1])
    assert (table.low[1], table.high[1]) == (0, 1)


def test_pass_rates_need_somebody_below_the_limit():
    for metric in (metrics.pass_rates, metrics.smallest_challenge_age):
        with pytest.raises(ValueError, match="None of the 2 true ages is below limit=18"):
            metric([18, 30], [20, 20])
        assert metric([17], [20]) is None or len(metric([17], [20])) == 13


def test_the_smallest_challenge_age_is_the_first_whose_bound_is_low(ages):
    y, p = ages
    below = y < 18
    for max_rate in (0.2, 0.05, 0.01):
        expected = None
        for age in range(18, 31):
            k = int((p[below] >= age).sum())
            test = binomtest(k, int(below.sum()), alternative="less")
            if test.proportion_ci(0.95, method="exact").high <= max_rate:
                expected = age
                break
        found = metrics.smallest_challenge_age(y, p, max_rate=max_rate)
        assert found == expected is not None
        higher_first = range(30, 17, -1)
        assert found == metrics.smallest_challenge_age(
            y, p, max_rate=max_rate, challenge_ages=higher_first
        )


@pytest.mark.parametrize(("n", "found"), [(298, None), (299, 18)])
def test_few_images_cannot_show_a_low_rate(n, found):
    assert metrics.smallest_challenge_age(np.full(n, 17), np.full(n, 10)) == found


def test_the_smallest_challenge_age_is_wrong_as_rarely_as_promised():
    rng, wrong = np.random.default_rng(0), 0
    challenge_ages = np.arange(0, 5, 0.1)
    for _ in range(400):
        p = rng.exponential(size=300)  # the share that passes at c is exp(-c)
        found = metrics.smallest_challenge_age(
            np.full(300, 17), p, max_rate=0.1, confidence=0.9, challenge_ages=challenge_ages
        )
        wrong += np.exp(-found) > 0.1
    assert wrong / 400 < 0.1 + 3 * np.sqrt(0.1 * 0.9 / 400)


def test_nists_rate_is_the_mean_of_fairlearns_groups():
    rng = np.random.default_rng(0)
    y = rng.uniform(15, 20, 4000)
    features = pd.DataFrame(
        {"sex": rng.choice(["f", "m"], 4000), "region": rng.choice(list("abcdef"), 4000)}
    )
    p, chosen = rng.normal(22, 4, 4000), np.floor(y) == 17
    frame = MetricFrame(
        metrics=lambda _, passes: np.mean(passes),
        y_true=y[chosen],
        y_pred=p[chosen] >= 25,
        sensitive_features=features[chosen],
    )
    assert len(frame.by_group) == 12
    found = metrics.nist_false_positive_rate(y, p, features.sex, features.region)
    assert found == pytest.approx(frame.by_group.astype(float).mean())
    over_sexes = [np.mean(p[chosen & (features.sex == sex)] >= 25) for sex in "fm"]
    assert metrics.nist_false_positive_rate(y, p, features.sex) == pytest.approx(
        np.mean(over_sexes)
    )


def test_nists_rate_refuses_missing_cells():
    y, sex, group = [17, 17, 17, 20], ["f", "f", "m", "m"], ["a", "b", "a", "b"]
    with pytest.raises(ValueError, match="No image has sex m and group b and age 17"):
        metrics.nist_false_positive_rate(y, y, sex, group)
    with pytest.raises(ValueError, match=r"group\[3\] is missing"):
        metrics.nist_false_positive_rate(y, y, sex, ["a", "b", "a", None])
    with pytest.raises(ValueError, match="inconsistent"):
        metrics.nist_false_positive_rate(y, y, sex, group[:3])


def test_the_age_range_table_is_nists(ages):
    y, p = ages
    table = metrics.age_range_table(y, p)
    teens = (y >= 13) & (y < 17)
    by_year = [np.abs(p - y)[np.floor(y) == age].mean() for age in (13, 14, 15, 16)]
    young, old = (y >= 8) & (y < 13), (y >= 17) & (y < 23)
    taken_for = (p >= 13) & (p < 17)
    expected = {
        "mae": np.mean(by_year),
        "true_positive_rate": taken_for[teens].mean(),
        "false_negative_rate_down": ((p >= 8) & (p < 13))[teens].mean(),
        "false_negative_rate_up": ((p >= 17) & (p < 23))[teens].mean(),
        "false_positive_rate_below": taken_for[young].mean(),
        "false_positive_rate_above": taken_for[old].mean(),
    }
    assert table.value.to_dict() == pytest.approx(expected)
    assert table.n.tolist() == [teens.sum()] * 4 + [young.sum(), old.sum()]
    k = int(taken_for[young].sum())
    bounds = binomtest(k, int(young.sum())).proportion_ci(0.95, method="exact")
    found = table.loc["false_positive_rate_below", ["low", "high"]]
    assert tuple(found) == pytest.approx(tuple(bounds))


def test_ranges_may_be_empty_but_not_years_of_the_range_itself():
    table = metrics.age_range_table([13, 14, 15, 16], [13, 14, 15, 16])
    row = table.loc["false_positive_rate_above"]
    assert row.n == 0
    assert np.isnan(row.value)
    assert (row.low, row.high) == (0, 1)
    with pytest.raises(ValueError, match="No image has age 16"):
        metrics.age_range_table([13, 14, 15], [13, 14, 15])
    with pytest.raises(ValueError, match="do not ascend"):
        metrics.age_range_table([13], [13], low=12, high=13)


def test_the_det_curve_is_counts(ages):
    y, p = ages
    passes, fails, thresholds = metrics.det_curve(y, p)
    for a, b, threshold in zip(passes, fails, thresholds, strict=True):
        assert a == pytest.approx(np.mean(p[y < 18] >= threshold))
        assert b == pytest.approx(np.mean(p[y >= 18] < threshold))
    weight = np.random.default_rng(1).integers(0, 4, len(y))
    found = metrics.det_curve(y, p, 16, sample_weight=weight)
    expected = sklearn.metrics.det_curve(np.repeat(y >= 16, weight), np.repeat(p, weight))
    for a, b in zip(found, expected, strict=True):
        assert a == pytest.approx(b)


def test_the_det_curve_needs_both_sides():
    with pytest.raises(ValueError, match="All 2 true ages are at or above limit=18"):
        metrics.det_curve([18, 20], [0.1, 0.2])
    with pytest.raises(ValueError, match="All 1 true ages are below"):
        metrics.det_curve([17, 20], [0.1, 0.2], sample_weight=[1, 0])
    with pytest.raises(ValueError, match=r"probability\[0\] is nan"):
        metrics.det_curve([17, 20], [np.nan, 0.2])
    with pytest.raises(ValueError, match="inconsistent"):
        metrics.det_curve([17, 20], [0.2])


@pytest.mark.parametrize("bad", [[20, np.nan], [20]])
def test_bad_predictions_are_errors(bad):
    for metric in (
        metrics.pass_rates,
        metrics.smallest_challenge_age,
        metrics.age_range_table,
        lambda a, b: metrics.nist_false_positive_rate(a, b, ["f", "m"]),
    ):
        with pytest.raises(ValueError, match=r"NaN|inconsistent"):
            metric([17, 17], bad)
