"""Errors of age estimators, each with a scikit-learn scorer.

Pass the scorers as ``scoring`` to any tool of scikit-learn. Unlike scikit-learn's own
scorers, such as "neg_mean_absolute_error", they leave out images without a prediction
(NaN): with ``on_error="skip"`` those that cannot be read, with ``on_no_face="nan"`` those
without a detected face. They raise if no image is left. The scorer of the epsilon-error
needs the standard deviations of the votes, by metadata routing:
``neg_epsilon_error_scorer.set_score_request(y_std=True)``.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import numpy as np
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.utils.validation import check_consistent_length

from .._checks import check_ages, check_weights

__all__ = [
    "cumulative_score",
    "cumulative_score_scorer",
    "epsilon_error",
    "macro_mean_absolute_error",
    "mean_absolute_error",
    "neg_epsilon_error_scorer",
    "neg_macro_mean_absolute_error_scorer",
    "neg_mean_absolute_error_scorer",
    "predicted_only",
]


def cumulative_score(
    y_true: Any,
    y_pred: Any,
    threshold: float = 5,
    *,
    sample_weight: Any = None,
) -> float:
    """Compute the share of ages predicted to within `threshold` years (CS@threshold).

    Defined by Geng, Zhou and Smith-Miles, "Automatic Age Estimation Based on
    Facial Aging Patterns", TPAMI 2007.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        Ages in years.
    threshold : float, default=5
        In years; an error of exactly `threshold` counts as within.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    score : float
        From 0 to 1, higher is better.

    Raises
    ------
    ValueError
        If an age is not a finite number, or `threshold` is negative.

    Examples
    --------
    >>> from skage.metrics import cumulative_score
    >>> cumulative_score([20, 30, 40, 50], [25, 36, 41, 50])
    0.75
    """
    if threshold < 0:
        raise ValueError(f"threshold={threshold} must not be negative. Pass a number of years.")
    y_true, y_pred, weight = _check(y_true, y_pred, sample_weight)
    return float(np.average(np.abs(y_true - y_pred) <= threshold, weights=weight))


def macro_mean_absolute_error(
    y_true: Any,
    y_pred: Any,
    *,
    width: float = 1,
    sample_weight: Any = None,
) -> float:
    """Compute the macro-averaged mean absolute error over the years of age (AMAE).

    The mean absolute error is computed for each year of age, and these are averaged, so
    that a rare age counts as much as a frequent one (Baccianella, Esuli and Sebastiani,
    "Evaluation Measures for Ordinal Regression", ISDA 2009).

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted ages in years.
    width : float, default=1
        Width in years of the classes to average over; 10 averages over decades.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples within their class.

    Returns
    -------
    error : float
        In years.

    Raises
    ------
    ValueError
        If an age is not a finite number, or `width` is not above 0.

    Examples
    --------
    >>> from skage.metrics import macro_mean_absolute_error
    >>> macro_mean_absolute_error([20, 20, 20, 60], [20, 20, 20, 68])
    4.0
    """
    if width <= 0:
        raise ValueError(f"width={width} must be above 0. Pass a number of years.")
    y_true, y_pred, weight = _check(y_true, y_pred, sample_weight)
    weight = np.ones(len(y_true)) if weight is None else weight
    _, codes = np.unique(np.floor(y_true / width), return_inverse=True)
    totals = np.bincount(codes, weight)
    errors = np.bincount(codes, weight * np.abs(y_true - y_pred))
    return float(np.mean(errors[totals > 0] / totals[totals > 0]))


def epsilon_error(
    y_true: Any,
    y_pred: Any,
    y_std: Any,
    *,
    sample_weight: Any = None,
) -> float:
    """Compute the epsilon-error of apparent ages, the measure of ChaLearn LAP.

    It is the mean of ``1 - exp(-(x - mu)^2 / (2 sigma^2))``, where x is the predicted
    age, and mu and sigma are the mean and standard deviation of an image's votes
    (Escalera et al., ICCVW 2015; DEX, IJCV 2016, section 4.2). It is not defined for
    real ages.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        Apparent and predicted ages in years.
    y_std : array-like of shape (n_samples,)
        Standard deviations of the votes in years, above 0.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    error : float
        From 0 to 1, lower is better.

    Raises
    ------
    ValueError
        If an age is not a finite number, or a standard deviation is not above 0.

    Examples
    --------
    >>> from skage.metrics import epsilon_error
    >>> round(epsilon_error([20, 30], [20, 34], [2, 4]), 4)
    0.1967
    """
    y_true, y_pred, weight = _check(y_true, y_pred, sample_weight)
    y_std = check_ages(y_std, "y_std")
    check_consistent_length(y_true, y_std)
    if (y_std <= 0).any():
        first = int(np.argmax(y_std <= 0))
        raise ValueError(
            f"y_std[{first}] is {y_std[first]}; a standard deviation of votes must be above 0. "
            "Drop images with a single vote."
        )
    with np.errstate(under="ignore", over="ignore"):  # an age far from all votes gives 1
        errors = 1 - np.exp(-(((y_pred - y_true) / y_std) ** 2) / 2)
    return float(np.average(errors, weights=weight))


def _check(y_true, y_pred, sample_weight):
    y_true, y_pred = check_ages(y_true, "y_true"), check_ages(y_pred, "y_pred")
    check_consistent_length(y_true, y_pred)
    weight = None if sample_weight is None else check_weights(sample_weight, len(y_true))
    return y_true, y_pred, weight


def predicted_only(y_true, y_pred, *others):
    """Select the samples that have a prediction.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Ages in years.
    y_pred : array-like of shape (n_samples,)
        In years; NaN for images without a prediction.
    *others : array-like of shape (n_samples,) or None
        Further values per sample, such as weights.

    Returns
    -------
    y_true, y_pred, *others : tuple of ndarray or None
        Without the samples whose prediction is NaN.

    Raises
    ------
    ValueError
        If all predictions are NaN, or lengths differ.

    Examples
    --------
    >>> from skage.metrics import predicted_only
    >>> predicted_only([20, 30, 40], [22, float("nan"), 39])
    (array([20, 40]), array([22., 39.]))
    """
    check_consistent_length(y_true, y_pred, *others)
    y_pred = np.asarray(y_pred)
    kept = ~np.isnan(y_pred) if y_pred.dtype.kind == "f" else np.ones(len(y_pred), dtype=bool)
    if not kept.any():
        raise ValueError(
            f"None of the {len(y_pred)} images has a prediction, so there is nothing to score. "
            "Check that they can be read and show a face."
        )
    samples = (y_true, y_pred, *others)
    return tuple(None if s is None else np.asarray(s)[kept] for s in samples)


def _make_scorer(metric, greater_is_better):
    @wraps(metric)  # metadata routing reads the names of the metric's parameters
    def score_predicted(y_true, y_pred, **options):
        per_sample = {name: options.pop(name) for name in _PER_SAMPLE & options.keys()}
        y_true, y_pred, *others = predicted_only(y_true, y_pred, *per_sample.values())
        return metric(y_true, y_pred, **dict(zip(per_sample, others, strict=True)), **options)

    return make_scorer(score_predicted, greater_is_better=greater_is_better)


_PER_SAMPLE = {"sample_weight", "y_std"}
neg_mean_absolute_error_scorer = _make_scorer(mean_absolute_error, greater_is_better=False)
cumulative_score_scorer = _make_scorer(cumulative_score, greater_is_better=True)
neg_macro_mean_absolute_error_scorer = _make_scorer(
    macro_mean_absolute_error, greater_is_better=False
)
neg_epsilon_error_scorer = _make_scorer(epsilon_error, greater_is_better=False)
