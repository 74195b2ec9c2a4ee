import subprocess
import sys

import numpy as np
import pytest
import sklearn
from sklearn.base import clone, config_context
from sklearn.datasets import make_regression
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from skage import AgeBinner, BinnedAgeRegressor
from skage._groups import TakesGroups
from skage._targets import LearnsAges

#: Checks of scikit-learn's suite that are expected to fail, with the reason.
EXPECTED_FAILURES: dict[str, str] = {}
CHILDREN = [
    LogisticRegression(),
    HistGradientBoostingClassifier(max_iter=5),
    DecisionTreeClassifier(random_state=0),
]


# The suite's targets are those of any regression: negative, large, and few.
@pytest.mark.filterwarnings("ignore:.*ages are", "ignore:n_bins=", "ignore:SCIPY_ARRAY")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [BinnedAgeRegressor(child, AgeBinner(5)) for child in CHILDREN],
    expected_failed_checks=lambda _: EXPECTED_FAILURES,
)
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.fixture
def tabular():
    X, y = make_regression(200, 5, noise=5, random_state=0)
    return X, 50 + y / y.std() * 15


class Fixed(DummyClassifier):
    """A classifier that always gives the distribution 0.1, 0.2, 0.7."""

    def predict_proba(self, X):
        return np.tile([0.1, 0.2, 0.7], (len(X), 1))


@pytest.fixture
def fixed():
    """Values 5, 15 and 60; ages at most half of 27.5 years, the median gap, from a training age."""
    X, ages = np.zeros((3, 1)), [5, 15, 60]
    return BinnedAgeRegressor(Fixed(), AgeBinner([0, 10, 20, 120])).fit(X, ages)


def test_decodes_mean_median_and_mode(fixed):
    X = np.zeros((2, 1))
    assert fixed.predict(X) == pytest.approx([0.1 * 5 + 0.2 * 15 + 0.7 * 60] * 2)
    assert fixed.set_params(decode="median").predict(X) == pytest.approx([46.25 + 27.5 * 2 / 7] * 2)
    assert fixed.set_params(decode="mode").predict(X).tolist() == [60, 60]


def test_std_and_interval_come_from_the_distribution(fixed):
    X = np.zeros((1, 1))
    ages, std = fixed.predict(X, return_std=True)
    between = 0.1 * (5 - 45.5) ** 2 + 0.2 * (15 - 45.5) ** 2 + 0.7 * (60 - 45.5) ** 2
    within = (0.1 * 10**2 + 0.2 * 10**2 + 0.7 * 27.5**2) / 12
    assert ages == pytest.approx([45.5])
    assert std == pytest.approx([np.sqrt(between + within)])
    assert fixed.predict_interval(X, coverage=0.8)[0] == pytest.approx([10, 46.25 + 27.5 * 6 / 7])
    with pytest.raises(ValueError, match="coverage=90 must lie between 0 and 1"):
        fixed.predict_interval(X, coverage=90)


def test_score_is_r2_and_better_than_the_median(tabular):
    X, y = tabular
    model = BinnedAgeRegressor(LogisticRegression(C=100), AgeBinner(10)).fit(X[:150], y[:150])
    assert model.score(X[150:], y[150:]) > 0.8


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"age_range": (20, 60)},
        {"age_range": (20, 60), "strategy": "uniform", "n_bins": 30},
        {"age_range": (20, 60), "representative": "midpoint"},
        {"age_range": (-100, 300)},
        {"age_range": (-30, 120), "n_bins": 10, "representative": "midpoint"},
        {"n_bins": [0, 50, 1000]},
        {"n_bins": [10, 12, 80]},
        {"n_bins": list(range(101))},
    ],
)
def test_ages_and_intervals_are_of_one_distribution_whatever_the_edges(options, integer):
    rng = np.random.default_rng(0)
    ages = rng.uniform(0, 95, 1000)
    ages = np.floor(ages) if integer else ages
    X = (ages[:, None] + rng.normal(0, 5, (1000, 1))) / 50
    binner = AgeBinner(**{"n_bins": 6} | options)
    model = BinnedAgeRegressor(LogisticRegression(C=100, max_iter=2000), binner).fit(X, ages)
    distribution = model.predict_dist(X)
    predicted, std = model.predict(X, return_std=True)
    for coverage in (0.5, 0.9, 0.99):
        low, high = model.predict_interval(X, coverage).T
        assert ((low <= predicted) & (predicted <= high)).all()
        assert (low >= np.minimum(predicted, 0)).all()
        held = ((low <= ages) & (ages <= high)).mean()
        assert coverage - 0.02 < held < coverage + 0.25
    levels = (np.arange(4000) + 0.5) / 4000
    some = distribution[::100]
    drawn = np.stack([model.binner_.quantile(some, level) for level in levels])
    assert drawn.mean(axis=0) == pytest.approx(predicted[::100], abs=0.2)
    assert drawn.std(axis=0) == pytest.approx(std[::100], rel=0.02)


@pytest.mark.filterwarnings("ignore:.*ages are negative")
def test_intervals_reach_below_zero_where_training_ages_do():
    rng = np.random.default_rng(0)
    ages = rng.uniform(-20, 75, 1000)
    X = (ages[:, None] + rng.normal(0, 5, (1000, 1))) / 50
    model = BinnedAgeRegressor(LogisticRegression(C=100), AgeBinner([20, 40, 60])).fit(X, ages)
    low, high = model.predict_interval(X, 0.99).T
    assert ((low <= ages) & (ages <= high)).mean() > 0.97
    assert low.min() < -15


def test_a_skewed_distribution_holds_its_mean_in_its_interval():
    class Skewed(DummyClassifier):
        def predict_proba(self, X):
            return np.tile([0.96, 0.04], (len(X), 1))

    X, ages = np.zeros((6, 1)), [1, 2, 3, 80, 81, 82]
    model = BinnedAgeRegressor(Skewed(), AgeBinner([0, 10, 100])).fit(X, ages)
    age = model.predict(X[:1])[0]
    assert age == pytest.approx(0.96 * 2 + 0.04 * 81)
    assert model.binner_.quantile([[0.96, 0.04]], 0.95)[0] < age
    low, high = model.predict_interval(X[:1])[0]
    assert low < high == age


def test_images_without_a_prediction_are_left_out_of_the_score(tabular):
    class Skipping(LogisticRegression):
        def predict_proba(self, X):
            return np.where(X[:, :1] > 99, np.nan, super().predict_proba(X))

    X, y = tabular
    model = BinnedAgeRegressor(Skipping(), AgeBinner(4)).fit(X, y)
    weight = np.arange(len(y))
    expected = model.score(X[1:], y[1:]), model.score(X[1:], y[1:], weight[1:])
    assert model.score(X[1:], y[1:], np.full(199, 1e308)) == pytest.approx(expected[0])
    X[0] = 100
    assert np.isnan(model.predict(X)[0])
    assert (model.score(X, y), model.score(X, y, weight)) == expected
    with pytest.raises(ValueError, match="None of the 1 images has a prediction"):
        model.score(X[:1], y[:1])


def test_parameters_of_the_defaults_can_be_searched():
    model = BinnedAgeRegressor().set_params(binner__n_bins=7, classifier__lr=0.5)
    assert (model.binner.n_bins, model.classifier.lr) == (7, 0.5)
    model = BinnedAgeRegressor().set_params(classifier=LogisticRegression(), classifier__C=3)
    assert model.classifier.C == 3
    with pytest.raises(ValueError, match="Invalid parameter 'size' for estimator AgeBinner"):
        BinnedAgeRegressor().set_params(binner__size=7)


@pytest.mark.parametrize("decode", ["Mean", None])
def test_decode_is_checked_at_prediction(fixed, decode):
    fixed.set_params(decode=decode)
    for method in (fixed.predict, fixed.predict_dist, fixed.predict_interval):
        with pytest.raises(ValueError, match="'decode' parameter"):
            method(np.zeros((1, 1)))
    with pytest.raises(ValueError, match="'decode' parameter"):
        fixed.decode_dist([[0, 0, 1.0]])


def test_bins_are_fitted_on_the_training_folds_alone():
    class Recording(AgeBinner):
        seen = []

        def fit(self, X, y=None, sample_weight=None):
            self.seen.append(set(X))
            return super().fit(X, y, sample_weight)

    X, y = np.arange(40.0)[:, None], np.arange(40.0)
    cross_validate(BinnedAgeRegressor(DecisionTreeClassifier(), Recording(4)), X, y, cv=4)
    assert [len(ages) for ages in Recording.seen] == [30] * 4
    assert set.intersection(*Recording.seen) == set()


def test_a_bin_without_training_samples_is_a_column_of_zeros():
    binner = AgeBinner([0, 10, 20, 30, 40])
    X, y = np.arange(4.0)[:, None], [5, 25, 25, 35]
    model = BinnedAgeRegressor(DecisionTreeClassifier(), binner).fit(X, y)
    distribution = model.predict_dist(X)
    assert distribution.shape == (4, 4)
    assert (distribution[:, 1] == 0).all()
    assert model.predict(X).tolist() == y


def test_sample_weight_reaches_bins_and_classifier():
    X, y = np.zeros((4, 1)), np.array([10.0, 10, 60, 60])
    model = BinnedAgeRegressor(DummyClassifier(), AgeBinner(2))
    assert model.fit(X, y).predict(X[:1]) == pytest.approx([35])
    assert model.fit(X, y, sample_weight=[3, 3, 1, 1]).predict(X[:1]) == pytest.approx([22.5])


def test_sample_weight_is_refused_where_the_classifier_takes_none(tabular):
    X, y = tabular
    with pytest.raises(TypeError, match=r"KNeighborsClassifier.fit does not accept sample_weight"):
        BinnedAgeRegressor(KNeighborsClassifier()).fit(X, y, sample_weight=np.ones(len(y)))


def test_metadata_routing(tabular):
    X, y = tabular
    weight = np.where(y > 50, 5.0, 1.0)
    plain = BinnedAgeRegressor(LogisticRegression(), AgeBinner(4))
    expected = clone(plain).fit(X, y, sample_weight=weight).predict(X)
    with sklearn.config_context(enable_metadata_routing=True):
        child = LogisticRegression().set_fit_request(sample_weight=True)
        model = BinnedAgeRegressor(child, AgeBinner(4))
        assert (model.fit(X, y, sample_weight=weight).predict(X) == expected).all()
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"binner__n_bins": [3, 4]}, cv=2)
        search.fit(X, y, sample_weight=weight)
        scored = cross_validate(model, X, y, cv=2, params={"sample_weight": weight})
    plain_scores = cross_validate(plain, X, y, cv=2, params={})["test_score"]
    assert (scored["test_score"] != plain_scores).all()


def test_nested_parameters_and_a_pipeline_as_classifier(tabular):
    X, y = tabular
    child = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(
        BinnedAgeRegressor(child, AgeBinner()),
        {"binner__n_bins": [2, 8], "classifier__logisticregression__C": [1, 100]},
        scoring="neg_mean_absolute_error",
        cv=3,
    ).fit(X, y)
    assert search.best_params_["binner__n_bins"] == 8
    assert search.best_estimator_.binner_.n_bins_ == 8


def test_ages_reach_a_classifier_that_learns_them_behind_a_pipeline(tabular):
    class Learner(LearnsAges, LogisticRegression):
        def fit(self, X, y, targets=None, groups=None):
            self.targets_, self.groups_ = targets, groups
            return super().fit(X, y)

    X, y = tabular
    binner = AgeBinner(4, encoding="gaussian")
    for child in (Learner(), make_pipeline(StandardScaler(), Learner())):
        model = BinnedAgeRegressor(child, binner).fit(X, y)
        last = model.classifier_[-1] if isinstance(child, Pipeline) else model.classifier_
        assert (last.targets_.ages == y).all()
        assert (last.targets_.bin_values == model.binner_.bin_values_).all()
        assert (last.targets_.distributions == model.binner_.encode(y)).all()
        assert last.groups_ is None
        model.fit(X, y, groups=y)
        last = model.classifier_[-1] if isinstance(child, Pipeline) else model.classifier_
        assert last.groups_ is y
    child = make_pipeline(StandardScaler(), LogisticRegression())
    BinnedAgeRegressor(child, AgeBinner(4)).fit(X, y, groups=y)  # it does not need them
    with pytest.raises(TypeError, match="learns labels, not distributions"):
        BinnedAgeRegressor(child, binner).fit(X, y)


def test_groups_reach_a_search_that_splits_by_them(tabular):
    X, y = tabular
    child = GridSearchCV(LogisticRegression(), {"C": [1, 10]}, cv=GroupKFold(3))
    for classifier in (child, make_pipeline(StandardScaler(), child)):
        model = BinnedAgeRegressor(classifier, AgeBinner(4)).fit(X, y, groups=y // 5)
        assert model.predict(X).shape == y.shape


def test_metadata_routing_passes_groups_to_each_fit_of_a_search(tabular):
    class Learner(LearnsAges, TakesGroups, LogisticRegression):
        def fit(self, X, y, targets=None, groups=None):
            assert len(set(groups)) < len(X)
            return super().fit(X, y)

    X, y = tabular
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            BinnedAgeRegressor(Learner(), AgeBinner(4)),
            {"binner__n_bins": [3, 4]},
            cv=GroupKFold(3),
            scoring="neg_mean_absolute_error",
        )
        assert np.isfinite(search.fit(X, y, groups=y // 5).best_score_)
        plain = BinnedAgeRegressor(LogisticRegression(), AgeBinner(4))
        plain.set_fit_request(groups=False).fit(X, y, groups=y)


def test_parameters_are_left_as_they_were(tabular):
    binner, child = AgeBinner(4), LogisticRegression()
    BinnedAgeRegressor(child, binner).fit(*tabular)
    assert not hasattr(binner, "bin_edges_")
    assert not hasattr(child, "coef_")


def test_a_fit_that_fails_leaves_the_model_as_it_was(tabular):
    X, y = tabular
    model = BinnedAgeRegressor(LogisticRegression(), AgeBinner(4)).fit(X, y)
    before = model.predict(X)
    with pytest.raises(ValueError, match="NaN"):
        model.set_params(binner__n_bins=8).fit(np.full_like(X, np.nan), y)
    assert (model.predict(X) == before).all()


def test_html_repr():
    html = BinnedAgeRegressor(LogisticRegression(), AgeBinner())._repr_html_()
    assert "LogisticRegression" in html
    assert "AgeBinner" in html
    assert "BinnedAgeRegressor" in BinnedAgeRegressor()._repr_html_()


def test_wrong_parameters_are_refused(tabular):
    X, y = tabular
    with pytest.raises(ValueError, match="'decode' parameter"):
        BinnedAgeRegressor(LogisticRegression(), decode="max").fit(X, y)
    with pytest.raises(ValueError, match="'classifier' parameter"):
        BinnedAgeRegressor(object()).fit(X, y)
    with pytest.raises(ValueError, match="'binner' parameter"):
        BinnedAgeRegressor(LogisticRegression(), KBinsDiscretizer()).fit(X, y)
    with pytest.raises(ValueError, match="egative"):
        BinnedAgeRegressor(LogisticRegression()).fit(X, y, sample_weight=-np.ones(len(y)))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        BinnedAgeRegressor(LogisticRegression()).fit(X, y[:-1])
    with pytest.raises(ValueError, match=r"y\[0\] is '30'"):
        BinnedAgeRegressor(LogisticRegression()).fit(X, ["30"] * len(X))


def test_the_package_and_the_regressor_import_no_torch():
    code = (
        "import sys, skage; from skage import AgeBinner, BinnedAgeRegressor, datasets, metrics; "
        "print(BinnedAgeRegressor()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_names_are_attribute_errors():
    import skage

    assert set(skage.__all__) <= set(dir(skage))
    with pytest.raises(AttributeError, match="no attribute 'AgeBiner'"):
        _ = skage.AgeBiner


@pytest.mark.parametrize("decode", ["mean", "median", "mode"])
@pytest.mark.parametrize("wrong", [[[0.5, 0.5]], [[0.5, 0.1, 0.1]], [0.1, 0.2, 0.7]])
def test_only_distributions_are_decoded(fixed, decode, wrong):
    with pytest.raises(
        ValueError, match=r"Expected bin codes of shape|is not a distribution|range"
    ):
        fixed.set_params(decode=decode).decode_dist(wrong)
