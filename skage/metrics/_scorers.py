"""Scorers of ages, distributions and intervals, which leave out images without a prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from sklearn import metrics
from sklearn.base import BaseEstimator
from sklearn.metrics import mean_absolute_error, root_mean_squared_error
from sklearn.utils.metadata_routing import UNUSED

from .._unwrap import unwrap
from ._challenge import nist_false_positive_rate
from ._checks import check_between, predicted_only
from ._distributions import calibration_error, crps, negative_log_likelihood
from ._errors import (
    cumulative_score,
    cumulative_score_area,
    epsilon_error,
    macro_mean_absolute_error,
    nist_mean_absolute_error,
    worst_band_error,
)
from ._intervals import interval_coverage, interval_width, winkler_score

_PER_SAMPLE = {"sample_weight", "y_std", "sex", "group"}


class _PredictedOnly:
    """A metric of ages that leaves out images without a prediction."""

    def __init__(self, metric: Callable):
        self.__name__ = metric.__name__
        self.__wrapped__ = metric  # whose signature tells metadata routing what it takes

    def __call__(self, y_true: Any, y_pred: Any, **options: Any) -> float:
        per_sample = {name: options.pop(name) for name in _PER_SAMPLE & options.keys()}
        y_true, y_pred, *others = predicted_only(y_true, y_pred, *per_sample.values())
        options |= dict(zip(per_sample, others, strict=True))
        return self.__wrapped__(y_true, y_pred, **options)


def _make_scorer(metric, greater_is_better):
    return metrics.make_scorer(_PredictedOnly(metric), greater_is_better=greater_is_better)


class _ModelScorer(BaseEstimator):
    """Scores what scikit-learn's scorers do not ask a regressor for.

    Unlike them it is called with the model inside pipelines and searches. BaseEstimator
    provides what metadata routing needs, such as `set_score_request`.
    """

    #: The estimator is not metadata.
    __metadata_request__score: ClassVar = {"estimator": UNUSED}

    def __init__(self, metric: Callable, greater_is_better: bool):
        self.metric = metric
        self.greater_is_better = greater_is_better

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        return self.score(estimator, X, y, sample_weight)

    def score(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Score a fitted model, higher is better."""
        model, X = unwrap(estimator, X)
        predicted, options = self._predict(model, X)
        y, _, predicted, sample_weight = predicted_only(
            y, predicted[:, 0], predicted, sample_weight
        )
        value = self.metric(y, predicted, **options, sample_weight=sample_weight)
        return value if self.greater_is_better else -value

    def _predict(self, model: Any, X: Any) -> tuple[Any, dict[str, Any]]:
        """Return predictions, NaN for images without one, and parameters of the metric."""
        raise NotImplementedError


class _DistributionScorer(_ModelScorer):
    """Scorer of a metric of distributions."""

    def _predict(self, model, X):
        _check_has(model, "predict_dist", "binner_")
        return model.predict_dist(X), {"binner": model.binner_}


class _IntervalScorer(_ModelScorer):
    """Scorer of a metric of intervals of a coverage."""

    def __init__(self, metric: Callable, greater_is_better: bool, coverage: float):
        super().__init__(metric, greater_is_better)
        self.coverage = coverage

    def _predict(self, model, X):
        _check_has(model, "predict_interval")
        options = {"coverage": self.coverage} if self.metric is winkler_score else {}
        return model.predict_interval(X, coverage=self.coverage), options


def make_interval_scorer(
    metric: Callable, coverage: float = 0.9, *, greater_is_better: bool = True
) -> Any:
    """Make a scorer of predicted intervals of any coverage.

    `interval_coverage_scorer`, `neg_interval_width_scorer` and `neg_winkler_scorer` are
    those of a coverage of 0.9.

    Parameters
    ----------
    metric : callable
        `interval_coverage`, `interval_width` or `winkler_score`, or another function that
        is called as ``metric(y_true, interval, sample_weight=sample_weight)``.
        `winkler_score` gets the coverage too.
    coverage : float, default=0.9
        Passed to `predict_interval` of the model, above 0 and below 1.
    greater_is_better : bool, default=True
        False negates the metric.

    Returns
    -------
    scorer : callable
        Called as ``scorer(estimator, X, y)``; `scoring` of scikit-learn's tools.

    Raises
    ------
    ValueError
        If `coverage` is not between 0 and 1.

    Examples
    --------
    >>> from skage.metrics import make_interval_scorer, winkler_score
    >>> scorer = make_interval_scorer(winkler_score, coverage=0.8, greater_is_better=False)
    >>> scorer.coverage
    0.8
    """
    check_between(coverage, "coverage", 0.9)
    return _IntervalScorer(metric, greater_is_better, coverage)


def _check_has(model, *names):
    for name in names:
        if not hasattr(model, name):
            raise TypeError(
                f"{type(model).__name__} has no {name}, which this scorer needs. Score a "
                "BinnedAgeRegressor or an AgeEnsemble, or use a scorer of ages."
            )


cumulative_score_scorer = _make_scorer(cumulative_score, greater_is_better=True)
cumulative_score_area_scorer = _make_scorer(cumulative_score_area, greater_is_better=True)
neg_epsilon_error_scorer = _make_scorer(epsilon_error, greater_is_better=False)
neg_macro_mean_absolute_error_scorer = _make_scorer(
    macro_mean_absolute_error, greater_is_better=False
)
neg_mean_absolute_error_scorer = _make_scorer(mean_absolute_error, greater_is_better=False)
neg_nist_false_positive_rate_scorer = _make_scorer(
    nist_false_positive_rate, greater_is_better=False
)
neg_nist_mean_absolute_error_scorer = _make_scorer(
    nist_mean_absolute_error, greater_is_better=False
)
neg_root_mean_squared_error_scorer = _make_scorer(root_mean_squared_error, greater_is_better=False)
neg_worst_band_error_scorer = _make_scorer(worst_band_error, greater_is_better=False)

log_likelihood_scorer = _DistributionScorer(negative_log_likelihood, greater_is_better=False)
neg_calibration_error_scorer = _DistributionScorer(calibration_error, greater_is_better=False)
neg_crps_scorer = _DistributionScorer(crps, greater_is_better=False)

interval_coverage_scorer = make_interval_scorer(interval_coverage)
neg_interval_width_scorer = make_interval_scorer(interval_width, greater_is_better=False)
neg_winkler_scorer = make_interval_scorer(winkler_score, greater_is_better=False)
