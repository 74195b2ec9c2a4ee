"""Scorers in cross-validation, searches and pipelines."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skage import AgeBinner, BinnedAgeRegressor, metrics

OF_AGES = {
    "mae": metrics.neg_mean_absolute_error_scorer,
    "rmse": metrics.neg_root_mean_squared_error_scorer,
    "macro": metrics.neg_macro_mean_absolute_error_scorer,
    "cs": metrics.cumulative_score_scorer,
    "area": metrics.cumulative_score_area_scorer,
    "worst": metrics.neg_worst_band_error_scorer,
}
OF_DISTRIBUTIONS = {
    "crps": (metrics.neg_crps_scorer, metrics.crps, -1),
    "likelihood": (metrics.log_likelihood_scorer, metrics.negative_log_likelihood, -1),
    "calibration": (metrics.neg_calibration_error_scorer, metrics.calibration_error, -1),
}
OF_INTERVALS = {
    "coverage": (metrics.interval_coverage_scorer, metrics.interval_coverage, 1),
    "width": (metrics.neg_interval_width_scorer, metrics.interval_width, -1),
    "winkler": (metrics.neg_winkler_scorer, metrics.winkler_score, -1),
}
ALL = OF_AGES | {name: entry[0] for name, entry in (OF_DISTRIBUTIONS | OF_INTERVALS).items()}


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    y = np.round(rng.uniform(10, 40, 360))
    return np.stack([(y + rng.normal(0, 6, 360)) / 10 - 2.5, rng.normal(size=360)], axis=1), y


@pytest.fixture
def model():
    return BinnedAgeRegressor(LogisticRegression(), AgeBinner(6))


class Skipping(BaseEstimator):
    """A fitted model that predicts nothing for every third image."""

    def __init__(self, model):
        self.model = model

    def fit(self, X, y):
        return self

    def __sklearn_is_fitted__(self):
        return True

    @property
    def binner_(self):
        return self.model.binner_

    def predict_dist(self, X):
        return _every_third_missing(self.model.predict_dist(X))

    def predict_interval(self, X, coverage=0.9):
        return _every_third_missing(self.model.predict_interval(X, coverage))


def _every_third_missing(predicted):
    predicted = predicted.copy()
    predicted[::3] = np.nan
    return predicted


def test_all_scorers_work_in_a_grid_search(data, model):
    search = GridSearchCV(
        model, {"classifier__C": [1e-6, 1]}, scoring=ALL, refit="crps", cv=3, error_score="raise"
    ).fit(*data)
    found = search.cv_results_
    for name in ALL:
        assert np.isfinite(found[f"mean_test_{name}"]).all(), name
    for name in ("mae", "rmse", "crps", "likelihood", "winkler"):
        assert found[f"mean_test_{name}"][1] > found[f"mean_test_{name}"][0], name
    assert search.best_params_ == {"classifier__C": 1}


@pytest.mark.parametrize("name", OF_DISTRIBUTIONS)
def test_distributions_are_scored_as_by_their_metric(name, data, model):
    scorer, metric, sign = OF_DISTRIBUTIONS[name]
    X, y = data
    model.fit(X, y)
    weight = np.arange(len(y))
    for options in ({}, {"sample_weight": weight}):
        expected = sign * metric(y, model.predict_dist(X), model.binner_, **options)
        assert scorer(model, X, y, **options) == pytest.approx(expected)
    kept = np.arange(len(y)) % 3 > 0
    expected = sign * metric(
        y[kept], model.predict_dist(X)[kept], model.binner_, sample_weight=weight[kept]
    )
    assert scorer(Skipping(model), X, y, sample_weight=weight) == pytest.approx(expected)


@pytest.mark.parametrize("name", OF_INTERVALS)
def test_intervals_are_scored_as_by_their_metric(name, data, model):
    scorer, metric, sign = OF_INTERVALS[name]
    X, y = data
    model.fit(X, y)
    assert scorer(model, X, y) == pytest.approx(sign * metric(y, model.predict_interval(X)))
    other = metrics.make_interval_scorer(metric, 0.5, greater_is_better=sign > 0)
    options = {"coverage": 0.5} if name == "winkler" else {}
    expected = sign * metric(y, model.predict_interval(X, coverage=0.5), **options)
    assert other(model, X, y) == pytest.approx(expected)
    kept = np.arange(len(y)) % 3 > 0
    expected = sign * metric(y[kept], model.predict_interval(X)[kept])
    assert scorer(Skipping(model), X, y) == pytest.approx(expected)


def test_pipelines_and_searches_are_unwrapped(data, model):
    X, y = data
    X = X * 100
    pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
    alone = clone(model).fit(StandardScaler().fit_transform(X), y)
    search = GridSearchCV(pipeline, {"binnedageregressor__classifier__C": [1.0]}, cv=2).fit(X, y)
    for scorer in (metrics.neg_crps_scorer, metrics.neg_winkler_scorer):
        expected = scorer(alone, StandardScaler().fit_transform(X), y)
        assert scorer(pipeline, X, y) == pytest.approx(expected)
        assert scorer(search, X, y) == pytest.approx(expected)


@pytest.mark.parametrize("name", [*OF_DISTRIBUTIONS, *OF_INTERVALS])
def test_other_models_are_refused(name, data, model):
    scorer = ALL[name]
    with pytest.raises(TypeError, match="DummyRegressor has no predict_"):
        scorer(DummyRegressor().fit(*data), *data)
    with pytest.raises(NotFittedError):
        scorer(model, *data)


def test_nothing_predicted_is_an_error(data, model):
    X, y = data
    model = Skipping(model.fit(X, y))
    for scorer in (metrics.neg_crps_scorer, metrics.neg_winkler_scorer):
        with pytest.raises(ValueError, match="None of the 1 images has a prediction"):
            scorer(model, X[:1], y[:1])


@pytest.mark.parametrize("name", [*OF_DISTRIBUTIONS, *OF_INTERVALS, "rmse"])
def test_weights_are_routed(name, data, model):
    X, y = data
    weight = np.random.default_rng(1).integers(1, 9, len(y))
    folds = [(np.arange(0, 360, 2), np.arange(1, 360, 2))]
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = clone(ALL[name], safe=False).set_score_request(sample_weight=True)
        model.set_params(classifier=LogisticRegression().set_fit_request(sample_weight=True))
        model.set_fit_request(sample_weight=True)
        found = cross_validate(
            model, X, y, cv=folds, scoring=scorer, params={"sample_weight": weight}
        )
        with pytest.raises(ValueError, match="sample_weight"):  # neither asked for nor declined
            cross_validate(
                model, X, y, cv=folds, scoring=ALL[name], params={"sample_weight": weight}
            )
    train, test = folds[0]
    model.fit(X[train], y[train], sample_weight=weight[train])
    expected = ALL[name](model, X[test], y[test], sample_weight=weight[test])
    assert found["test_score"] == pytest.approx([expected])
    assert expected != pytest.approx(ALL[name](model, X[test], y[test]))


def test_sexes_are_routed_to_nists_scorers(data, model):
    X, y = data
    y = y.clip(17, 30)
    sex = np.tile(["f", "m"], len(y) // 2)
    region = np.repeat(["a", "b"], len(y) // 2)
    with sklearn.config_context(enable_metadata_routing=True):
        scoring = {
            "mae": clone(metrics.neg_nist_mean_absolute_error_scorer, safe=False),
            "rate": clone(metrics.neg_nist_false_positive_rate_scorer, safe=False),
        }
        scoring["mae"].set_score_request(sex=True)
        scoring["rate"].set_score_request(sex=True, group="region")
        found = cross_validate(
            model,
            X,
            y,
            cv=[(np.arange(360), np.arange(360))],
            scoring=scoring,
            params={"sex": sex, "region": region},
        )
    p = model.fit(X, y).predict(X)
    assert -found["test_mae"][0] == pytest.approx(metrics.nist_mean_absolute_error(y, p, sex))
    assert -found["test_rate"][0] == pytest.approx(
        metrics.nist_false_positive_rate(y, p, sex, region)
    )


@pytest.mark.parametrize("name", ALL)
def test_scorers_can_be_pickled(name, data, model):
    X, y = data
    model.fit(X, y)
    copy = pickle.loads(pickle.dumps(ALL[name]))
    assert copy(model, X, y) == ALL[name](model, X, y)


def test_a_scorer_of_intervals_needs_a_coverage():
    with pytest.raises(ValueError, match="coverage=90"):
        metrics.make_interval_scorer(metrics.interval_width, 90)
