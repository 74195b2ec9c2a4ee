import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.tree import DecisionTreeClassifier

from skage import AgeBinner


@pytest.fixture
def heavily_tied():
    """Whole ages with one peak, as in every face data set."""
    rng = np.random.default_rng(0)
    return np.concatenate([np.full(300, 1.0), np.full(400, 26.0), rng.integers(0, 101, 1000)])


# scikit-learn's check_estimator passes over transformers of labels, so by hand:
def test_is_a_scikit_learn_estimator():
    binner = AgeBinner(3, representative="midpoint")
    with pytest.raises(NotFittedError):
        binner.transform([1, 2])
    copy = clone(binner)
    assert copy.get_params() == binner.get_params()
    ages = np.arange(10.0)
    codes = copy.fit_transform(ages)
    assert (pickle.loads(pickle.dumps(copy)).transform(ages) == codes).all()
    assert (copy.fit(ages).transform(ages) == codes).all()
    assert vars(binner) == vars(clone(binner))


@pytest.mark.parametrize("n_bins", [1, 2, 15, 50, 101])
def test_balanced_makes_just_the_bins_asked_and_none_empty(heavily_tied, n_bins):
    binner = AgeBinner(n_bins).fit(heavily_tied)
    counts = np.bincount(binner.transform(heavily_tied), minlength=n_bins)
    assert binner.n_bins_ == len(binner.bin_values_) == len(binner.bin_edges_) - 1 == n_bins
    assert counts.min() > 0


def test_balanced_is_even_where_ages_are_not_tied():
    ages = np.random.default_rng(0).uniform(0, 90, 1003)
    counts = np.bincount(AgeBinner(10).fit(ages).transform(ages))
    assert np.ptp(counts) <= 1


def test_uniform_bins_are_equally_wide():
    binner = AgeBinner(4, strategy="uniform", age_range=(0, 100)).fit([10.0, 20.0, 90.0])
    assert binner.bin_edges_.tolist() == [0, 25, 50, 75, 100]
    assert binner.bin_values_.tolist() == [15, 37.5, 62.5, 90]  # midpoints where empty
    assert AgeBinner(2, strategy="uniform").fit([10, 30]).bin_edges_.tolist() == [10, 20, 30]


def test_explicit_edges():
    binner = AgeBinner([0, 18, 65, 100]).fit([10, 20, 70])
    assert binner.n_bins_ == 3
    assert binner.transform([-3, 17.9, 18, 64, 65, 100, 120]).tolist() == [0, 0, 1, 1, 2, 2, 2]


def test_values_are_means_of_the_training_ages_not_midpoints():
    ages = [0, 0, 0, 10, 50, 100]
    assert AgeBinner([0, 20, 100]).fit(ages).bin_values_.tolist() == [2.5, 75]
    midpoint = AgeBinner([0, 20, 100], representative="midpoint").fit(ages)
    assert midpoint.bin_values_.tolist() == [10, 60]


def test_end_bins_reach_out_to_ages_beyond_age_range():
    binner = AgeBinner(2, age_range=(10, 60)).fit([1, 20, 30, 90])
    assert binner.bin_edges_.tolist() == [1, 25, 90]
    assert binner.transform([1, 90]).tolist() == [0, 1]
    assert binner.bin_values_.tolist() == [10.5, 60]


def test_weights_count_as_repeated_ages():
    ages, weight = np.array([5.0, 20, 40, 60, 80]), np.array([3, 1, 0, 2, 5])
    weighted = AgeBinner(3).fit(ages, sample_weight=weight)
    repeated = AgeBinner(3).fit(np.repeat(ages, weight))
    assert weighted.bin_edges_.tolist() == repeated.bin_edges_.tolist()
    assert weighted.bin_values_ == pytest.approx(repeated.bin_values_)


@pytest.mark.parametrize("scale", [1e-320, 8e307])
def test_tiny_and_huge_weights_count_by_their_proportions(scale):
    ages, weight = np.arange(40.0), np.tile([1.0, 2.0], 20)
    expected = AgeBinner(4).fit(ages, sample_weight=weight)
    found = AgeBinner(4).fit(ages, sample_weight=weight * scale)
    assert (found.bin_edges_ == expected.bin_edges_).all()
    assert found.bin_values_ == pytest.approx(expected.bin_values_, rel=1e-12)


def test_column_and_list_are_the_same_ages():
    ages = [20, 30, 40]
    binner = AgeBinner(2).fit(ages)
    column = np.array(ages)[:, None]
    assert clone(binner).fit(column).bin_edges_.tolist() == binner.bin_edges_.tolist()
    codes = binner.transform(column)
    assert codes.dtype == np.int64
    assert codes.shape == (3,)


def test_inverse_transform_of_codes_and_of_probabilities():
    binner = AgeBinner([0, 10, 20]).fit([5, 15])
    assert binner.inverse_transform([1, 0]).tolist() == [15, 5]
    assert binner.inverse_transform([[1], [0]]).tolist() == [15, 5]
    assert binner.inverse_transform([[0.25, 0.75]]).tolist() == [12.5]
    assert np.isnan(binner.inverse_transform([[np.nan, np.nan]])).all()


def test_quantile_and_std_of_a_flat_distribution():
    binner = AgeBinner([0, 50, 100], representative="midpoint").fit([1.0])
    flat = [[0.5, 0.5]]
    assert binner.quantile(flat, 0.05) == pytest.approx(5)
    assert binner.quantile(flat, 0.75) == pytest.approx(75)
    assert binner.std(flat) == pytest.approx(100 / np.sqrt(12))


def test_whole_ages_are_spread_over_half_a_year_either_way():
    binner = AgeBinner([0, 1, 2, 3, 10]).fit([0, 1, 2, 2, 3, 9])
    assert binner.bin_values_.tolist() == [0, 1, 2, 6]
    assert binner.bin_support_.tolist() == [[-0.5, 0.5], [0.5, 1.5], [1.5, 2.5], [2.5, 9.5]]
    sure = np.eye(4)
    assert binner.quantile(sure, 0.05) == pytest.approx([-0.45, 0.55, 1.55, 2.85])
    assert binner.std(sure[1:2]) == pytest.approx(1 / np.sqrt(12))


def test_the_youngest_age_is_within_its_bin():
    binner = AgeBinner(3).fit([1, 1, 1, 2, 3, 4, 90])
    assert binner.bin_support_[0].tolist() == [0.5, 1.5]
    low, high = (binner.quantile([[1.0, 0, 0]], level)[0] for level in (0.05, 0.95))
    assert low < binner.bin_values_[0] == 1 < high


def test_no_age_is_negative_whatever_the_range():
    binner = AgeBinner(5, strategy="uniform", age_range=(-20, 80), representative="midpoint")
    binner.fit([1, 10, 70])
    assert binner.bin_edges_.tolist() == [-20, 0, 20, 40, 60, 80]
    binner.set_params(age_range=(-5, 95)).fit([1, 10, 70])
    assert binner.bin_support_[0].tolist() == [0, 15]
    assert binner.quantile(np.eye(5)[:1], 0.01)[0] > 0


def test_cdf_is_the_inverse_of_quantile():
    rng = np.random.default_rng(0)
    binner = AgeBinner(7).fit(rng.gamma(3, 10, 500))
    distribution = rng.dirichlet(np.ones(7), 5)
    for level in (0.01, 0.3, 0.5, 0.99):
        ages = binner.quantile(distribution, level)
        assert np.diag(binner.cdf(distribution, ages)) == pytest.approx(level)
    for level in (-0.1, 2, np.nan, "0.5"):
        with pytest.raises(ValueError, match="must lie between 0 and 1"):
            binner.quantile(distribution, level)
    assert binner.cdf(distribution, [-1, 1000]).tolist() == [[0, pytest.approx(1)]] * 5
    assert np.isnan(binner.cdf([[np.nan] * 7], [3])).all()


def test_one_distinct_age_gives_one_bin():
    for strategy in ("balanced", "uniform"):
        with pytest.warns(UserWarning, match=r"distinct ages \(1\); using 1 bin\."):
            binner = AgeBinner(5, strategy=strategy).fit([30, 30])
        assert binner.bin_values_.tolist() == [30]
        assert binner.inverse_transform([[1.0]]).tolist() == [30]


def test_more_bins_than_ages_warns_with_the_number_made():
    with pytest.warns(UserWarning, match=r"n_bins=7 exceeds .* ages \(3\); using 3 bins"):
        assert AgeBinner(7).fit([1, 2, 2, 3]).n_bins_ == 3


def test_negative_ages_are_taken_with_a_warning():
    with pytest.warns(UserWarning, match="2 of the 3 ages are negative, first -1 at position 1"):
        AgeBinner(2).fit([30, -1, -1])


def test_years_of_birth_are_taken_with_a_warning():
    with pytest.warns(UserWarning, match="2 of the 3 ages are above 120, first 1980 .* of birth"):
        AgeBinner(2).fit([30, 1980, 1990])


@pytest.mark.parametrize("encoding", ["hard", "gaussian", "sord", "two_hot"])
def test_encodings_do_without_underflow_errors(encoding):
    with np.errstate(all="raise"):
        binner = AgeBinner(20, encoding=encoding, sigma=0.1).fit(np.arange(100.0))
        found = binner.encode([0, 50.2, 99])
    assert found.sum(axis=1) == pytest.approx([1, 1, 1])


def test_encoding_is_checked_when_it_is_used():
    binner = AgeBinner(2).fit([1, 2]).set_params(encoding="Gaussian")
    with pytest.raises(ValueError, match="'encoding' parameter"):
        binner.encode([1])


@pytest.mark.parametrize(
    ("ages", "message"),
    [
        ([30, np.nan], r"NaN: y\[1\]"),
        ([30, 40, -np.inf], r"infinity: y\[2\]"),
        (["30", "40"], r"y\[0\] is '30' \(str\)"),
        ([30, None], r"y\[1\] is None"),
        ([[1, 2], [3, 4]], r"got shape \(2, 2\)"),
        ([], "0 ages"),
        (30, r"got shape \(\)"),
    ],
)
def test_invalid_ages_are_refused(ages, message):
    with pytest.raises(ValueError, match=message):
        AgeBinner().fit(ages)
    with pytest.raises(ValueError, match=message):
        AgeBinner(2).fit([1, 2]).transform(ages)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_bins": 0}, "n_bins"),
        ({"n_bins": 2.5}, "n_bins"),
        ({"n_bins": [0, 20, 10]}, "ascending"),
        ({"n_bins": [0]}, "at least two"),
        ({"n_bins": [0, np.inf]}, "finite"),
        ({"strategy": "quantile"}, "strategy"),
        ({"age_range": (50, 10)}, "age_range"),
        ({"age_range": (0, 10, 20)}, "age_range"),
        ({"representative": "median"}, "representative"),
        ({"n_bins": [0, 50], "age_range": (0, 50)}, "age_range must be None"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        AgeBinner(**parameters).fit([1, 2, 3])


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        ([0, 2], "code 2 at position 1 .* 0 to 1"),
        ([0.5], "code 0.5 at position 0"),
        ([[0.2, 0.2]], "Row 0 .* its sum is 0.4"),
        ([[1.5, -0.5]], "smallest entry is -0.5"),
        ([[0.2, 0.3, 0.5]], r"probabilities of shape \(n, 2\)"),
    ],
)
def test_what_encodes_no_age_is_refused(encoded, message):
    with pytest.raises(ValueError, match=message):
        AgeBinner(2).fit([1, 2]).inverse_transform(encoded)


def test_serves_as_a_target_transformer():
    X, ages = np.arange(20)[:, None], np.arange(20.0)
    model = TransformedTargetRegressor(
        DecisionTreeClassifier(), transformer=AgeBinner(4), check_inverse=False
    )
    assert np.unique(model.fit(X, ages).predict(X)).tolist() == [2, 7, 12, 17]
