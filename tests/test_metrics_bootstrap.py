"""Bootstrap intervals, against scipy's and a loop over persons."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from skage import AgeBinner, metrics
from skage.metrics import bootstrap_interval, mean_absolute_error


@pytest.fixture
def ages():
    rng = np.random.default_rng(0)
    y_true = np.round(rng.uniform(0, 90, 200))
    return y_true, y_true + rng.normal(1, 6, 200)


def test_without_groups_it_is_scipys(ages):
    expected = bootstrap(
        ages,
        mean_absolute_error,
        paired=True,
        vectorized=False,
        n_resamples=1000,
        method="percentile",
        confidence_level=0.9,
        rng=0,
    ).confidence_interval
    found = bootstrap_interval(
        mean_absolute_error, *ages, n_resamples=1000, confidence_level=0.9, random_state=0
    )
    assert found == pytest.approx(tuple(expected), abs=0.06)


def test_whole_persons_are_drawn():
    y, groups = np.arange(7.0), ["b", "a", "b", "c", "b", "a", "c"]
    people = {"a": [1, 5], "b": [0, 2, 4], "c": [3, 6]}
    sizes = set()

    def check(drawn, who):
        for name, members in people.items():
            counts = [int((drawn == i).sum()) for i in members]
            assert len(set(counts)) == 1
            assert (np.asarray(who) == name).sum() == sum(counts)
        sizes.add(len(drawn))
        return 0.0

    bootstrap_interval(check, y, groups, groups=groups, random_state=0)
    assert sizes == {6, 7, 8, 9}


def test_persons_drawn_are_those_of_a_loop(ages):
    y, p = ages
    groups = np.random.default_rng(1).integers(0, 40, len(y))
    rng, people = np.random.RandomState(3), pd.unique(groups)
    values = []
    for _ in range(50):
        drawn = rng.randint(0, len(people), len(people))
        rows = np.concatenate([np.flatnonzero(groups == people[i]) for i in drawn])
        values.append(mean_absolute_error(y[rows], p[rows]))
    found = bootstrap_interval(
        mean_absolute_error, y, p, groups=groups, n_resamples=50, random_state=3
    )
    assert found == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_images_of_one_person_widen_the_interval(ages):
    y, p = (np.repeat(a, 10) for a in ages)
    groups = np.repeat(np.arange(200), 10)
    narrow = np.ptp(bootstrap_interval(mean_absolute_error, y, p, random_state=0))
    wide = np.ptp(bootstrap_interval(mean_absolute_error, y, p, groups=groups, random_state=0))
    assert wide / narrow == pytest.approx(np.sqrt(10), rel=0.15)
    once = np.ptp(bootstrap_interval(mean_absolute_error, *ages, random_state=0))
    assert wide == pytest.approx(once, rel=0.15)


def test_a_group_for_each_image_is_no_group(ages):
    groups = [f"person {i}" for i in range(200)]
    found = bootstrap_interval(mean_absolute_error, *ages, groups=groups, random_state=0)
    assert found == bootstrap_interval(mean_absolute_error, *ages, random_state=0)


def test_arrays_may_be_of_any_kind_and_weights_are_drawn_too(ages):
    y, p = ages
    weight = np.random.default_rng(1).integers(0, 4, len(y))
    seen = []

    def metric(*arrays, sample_weight, name):
        seen.append([type(a) for a in arrays])
        assert name == "kept"
        assert arrays[2] is None
        return np.average(arrays[1], weights=sample_weight)

    found = bootstrap_interval(
        metric, y.tolist(), pd.Series(p), None, sample_weight=weight, random_state=0, name="kept"
    )
    expected = bootstrap_interval(
        lambda a, w: np.average(a, weights=w), p, weight.astype(float), random_state=0
    )
    assert found == pytest.approx(expected)
    assert seen[0][:2] == [list, pd.Series]


def test_any_metric_has_an_interval(ages):
    y, p = ages
    rng = np.random.default_rng(1)
    binner = AgeBinner(5).fit(y)
    q, sex = rng.dirichlet(np.ones(5), len(y)), rng.choice(["f", "m"], len(y))
    for metric, arrays, options in (
        (metrics.crps, (y, q), {"binner": binner}),
        (metrics.winkler_score, (y, np.stack([p - 5, p + 5], axis=1)), {"coverage": 0.8}),
        (metrics.cumulative_score, (y, p), {"threshold": 3}),
        (metrics.nist_mean_absolute_error, (y, p, sex), {"ages": [40]}),
    ):
        if metric is metrics.nist_mean_absolute_error:
            arrays = (np.full(len(y), 40), p, sex)
        low, high = bootstrap_interval(metric, *arrays, n_resamples=50, random_state=0, **options)
        assert low <= metric(*arrays, **options) <= high


def test_an_undefined_sample_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="1 distinct labels") as raised:
        bootstrap_interval(
            metrics.nist_mean_absolute_error,
            [18, 18, 18, 18],
            [18, 19, 20, 21],
            ["f", "m", "m", "m"],
            ages=[18],
            random_state=0,
        )
    assert "bootstrap sample" in raised.value.__notes__[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": [1]}, "inconsistent"),
        ({"groups": [1, None]}, r"groups\[1\] is missing"),
        ({"sample_weight": [1]}, "inconsistent"),
        ({"confidence_level": 95}, "confidence_level=95"),
        ({"n_resamples": 0}, "n_resamples=0"),
        ({"n_resamples": 10.0}, r"n_resamples=10\.0"),
    ],
)
def test_bad_parameters_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(mean_absolute_error, [20, 30], [21, 33], **options)


def test_there_must_be_something_to_draw():
    for arrays in ((), (None,)):
        with pytest.raises(ValueError, match="no arrays"):
            bootstrap_interval(mean_absolute_error, *arrays)
    with pytest.raises(ValueError, match="inconsistent"):
        bootstrap_interval(mean_absolute_error, [20, 30], [21])
