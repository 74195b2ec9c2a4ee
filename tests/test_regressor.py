import subprocess
import sys

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import make_regression
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from skage import AgeBinner, BinnedAgeRegressor

#: Checks of scikit-learn's suite that are expected to fail, with the reason.
EXPECTED_FAILURES: dict[str, str] = {}
CHILDREN = [
    LogisticRegression(),
    HistGradientBoostingClassifier(max_iter=5),
    DecisionTreeClassifier(random_state=0),
]


# The suite's targets are those of any regression: negative, and few.
@pytest.mark.filterwarnings("ignore:.*ages are negative", "ignore:n_bins=", "ignore:SCIPY_ARRAY")
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
    X, ages = np.zeros((3, 1)), [5, 15, 60]
    return BinnedAgeRegressor(Fixed(), AgeBinner([0, 10, 20, 120])).fit(X, ages)


def test_decodes_mean_median_and_mode(fixed):
    X = np.zeros((2, 1))
    assert fixed.predict(X) == pytest.approx([0.1 * 5 + 0.2 * 15 + 0.7 * 60] * 2)
    assert fixed.set_params(decode="median").predict(X) == pytest.approx([20 + 100 * 2 / 7] * 2)
    assert fixed.set_params(decode="mode").predict(X).tolist() == [60, 60]


def test_std_and_interval_come_from_the_distribution(fixed):
    X = np.zeros((1, 1))
    ages, std = fixed.predict(X, return_std=True)
    between = 0.1 * (5 - 45.5) ** 2 + 0.2 * (15 - 45.5) ** 2 + 0.7 * (60 - 45.5) ** 2
    within = (0.1 * 10**2 + 0.2 * 10**2 + 0.7 * 100**2) / 12
    assert ages == pytest.approx([45.5])
    assert std == pytest.approx([np.sqrt(between + within)])
    assert fixed.predict_interval(X, coverage=0.8)[0] == pytest.approx([10, 20 + 100 * 6 / 7])
    with pytest.raises(ValueError, match="coverage=90 must lie between 0 and 1"):
        fixed.predict_interval(X, coverage=90)


def test_score_is_r2_and_better_than_the_median(tabular):
    X, y = tabular
    model = BinnedAgeRegressor(LogisticRegression(C=100), AgeBinner(10)).fit(X[:150], y[:150])
    assert model.score(X[150:], y[150:]) > 0.8


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
    with pytest.raises(TypeError, match=r"KNeighborsClassifier.fit takes no sample_weight"):
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
