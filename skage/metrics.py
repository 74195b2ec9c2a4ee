"""Errors of age estimators, each with a scikit-learn scorer.

The scorers work wherever scikit-learn takes ``scoring``. That of the
epsilon-error needs the votes' standard deviations, which metadata routing
carries: ``neg_epsilon_error_scorer.set_score_request(y_std=True)``.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.utils.validation import _check_sample_weight, check_consistent_length

from .checks import check_ages

__all__ = [
    "cumulative_score",
    "cumulative_score_scorer",
    "epsilon_error",
    "macro_mean_absolute_error",
    "mean_absolute_error",
    "neg_epsilon_error_scorer",
    "neg_macro_mean_absolute_error_scorer",
    "neg_mean_absolute_error_scorer",
]


def cumulative_score(y_true, y_pred, threshold=5, *, sample_weight=None):
    """Share of ages that are predicted to within `threshold` years: CS@threshold.

    Defined by Geng, Zhou and Smith-Miles, "Automatic Age Estimation Based on
    Facial Aging Patterns", TPAMI 2007.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        Ages in years.
    threshold : float, default=5
        In years; an error of just so many counts as within.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    score : float
        From 0 to 1, higher is better.

    Raises
    ------
    ValueError
        If an age is no finite number, or `threshold` is negative.

    Examples
    --------
    >>> from skage.metrics import cumulative_score
    >>> cumulative_score([20, 30, 40, 50], [25, 36, 41, 50])
    0.75
    """
    if threshold < 0:
        raise ValueError(f"threshold={threshold} must be 0 years or more.")
    y_true, y_pred, weight = _check(y_true, y_pred, sample_weight)
    return float(np.average(np.abs(y_true - y_pred) <= threshold, weights=weight))


def macro_mean_absolute_error(y_true, y_pred, *, width=1, sample_weight=None):
    """Mean of the mean absolute errors of each year of age: AMAE.

    A rare age counts as much as a frequent one (Baccianella, Esuli and Sebastiani,
    "Evaluation Measures for Ordinal Regression", ISDA 2009).

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted ages in years.
    width : float, default=1
        Years that count as one age; 10 takes decades.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples within their age.

    Returns
    -------
    error : float
        In years.

    Raises
    ------
    ValueError
        If an age is no finite number, or `width` is not above 0.

    Examples
    --------
    >>> from skage.metrics import macro_mean_absolute_error
    >>> macro_mean_absolute_error([20, 20, 20, 60], [20, 20, 20, 68])
    4.0
    """
    if width <= 0:
        raise ValueError(f"width={width} must be above 0 years.")
    y_true, y_pred, weight = _check(y_true, y_pred, sample_weight)
    weight = np.ones(len(y_true)) if weight is None else weight
    _, codes = np.unique(np.floor(y_true / width), return_inverse=True)
    totals = np.bincount(codes, weight)
    errors = np.bincount(codes, weight * np.abs(y_true - y_pred))
    return float(np.mean(errors[totals > 0] / totals[totals > 0]))


def epsilon_error(y_true, y_pred, y_std, *, sample_weight=None):
    """Epsilon-error of apparent age, the measure of the ChaLearn LAP challenge.

    The mean of ``1 - exp(-(x - mu)^2 / (2 sigma^2))``, mu and sigma being the
    mean and standard deviation of an image's votes (Escalera et al., ICCVW
    2015; DEX, IJCV 2016, section 4.2). It has no meaning for real ages.

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
        If an age is no finite number, or a standard deviation is not above 0.

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
            "Drop images with one vote."
        )
    errors = 1 - np.exp(-((y_pred - y_true) ** 2) / (2 * y_std**2))
    return float(np.average(errors, weights=weight))


def _check(y_true, y_pred, sample_weight):
    y_true, y_pred = check_ages(y_true, "y_true"), check_ages(y_pred, "y_pred")
    check_consistent_length(y_true, y_pred)
    weight = None if sample_weight is None else _check_sample_weight(sample_weight, y_true)
    return y_true, y_pred, weight


neg_mean_absolute_error_scorer = make_scorer(mean_absolute_error, greater_is_better=False)
cumulative_score_scorer = make_scorer(cumulative_score)
neg_macro_mean_absolute_error_scorer = make_scorer(
    macro_mean_absolute_error, greater_is_better=False
)
neg_epsilon_error_scorer = make_scorer(epsilon_error, greater_is_better=False)
