import pickle

import numpy as np
import pytest
from crepes import ConformalRegressor
from mapie.regression import SplitConformalRegressor
from scipy.stats import norm
from sklearn.base import BaseEstimator, RegressorMixin, clone, config_context
from sklearn.datasets import make_regression
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import skage
from skage import AgeBinner, AgeEnsemble, BinnedAgeRegressor, CalibratedAgeRegressor, _conformal
from skage._distribution import DistributionRegressor
from skage._files.container import read_container, write_container
from skage.metrics import crps, interval_coverage

from .conftest import tiny_model

EDGES = np.arange(-0.5, 101)
BINNER = AgeBinner(EDGES.tolist(), representative="midpoint").fit(np.arange(101))


class Normal(DistributionRegressor, BaseEstimator):
    """Predict the normal distributions whose means and standard deviations are X."""

    decode = "mean"

    def __init__(self):
        self.binner_ = BINNER

    def fit(self, X, y):
        return self

    def predict_dist(self, X):
        below = norm.cdf(EDGES, X[:, [0]], np.maximum(X[:, [1]], 1e-9))
        below[:, 0], below[:, -1] = 0, 1
        return np.diff(below, axis=1)


def drawn(n, seed=0, *, factor=1.5, whole=True):
    """Means, standard deviations that are too small by a factor, and true ages."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(5, 90, n)
    sd = 1 + mean / 12
    ages = rng.normal(mean, factor * sd).clip(0.6, 100.4)
    return np.column_stack([mean, sd]), np.round(ages) if whole else ages


def model(**options):
    return CalibratedAgeRegressor(FrozenEstimator(Normal()), **options)


@pytest.fixture
def tabular():
    X, y = make_regression(300, 5, noise=5, random_state=0)
    return X, (50 + y / y.std() * 15).clip(0, 100)


@pytest.mark.filterwarnings("ignore:.*ages are", "ignore:n_bins=", "ignore:SCIPY_ARRAY")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        CalibratedAgeRegressor(BinnedAgeRegressor(LogisticRegression()), **options)
        for options in ({}, {"cv": 2, "by": None})
    ]
)
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("tails", ["joint", "apart"])
@pytest.mark.parametrize("by", [None, "predicted", "true"])
@pytest.mark.parametrize("whole", [True, False])
def test_intervals_have_their_coverage(coverage, tails, by, whole):
    found = []
    for seed in range(5):
        X, y = drawn(1000, seed, whole=whole)
        X_new, y_new = drawn(1000, 100 + seed, whole=whole)
        interval = model(by=by, tails=tails).fit(X, y).predict_interval(X_new, coverage)
        found.append(interval_coverage(y_new, interval))
    highest = coverage + (0.06 if by == "true" else 0.02)
    assert coverage - 0.01 < np.mean(found) < highest
