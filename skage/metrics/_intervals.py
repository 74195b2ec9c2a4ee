"""Scores of predicted intervals of age."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._checks import check_between, check_interval


def interval_coverage(y_true: Any, interval: Any, *, sample_weight: Any = None) -> float:
    """Compute the share of true ages that are in the predicted intervals.

    Intervals that keep their promise cover as much as was asked for. As very wide ones do
    so too, see also their width, or the Winkler score for both in one number.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True ages in years.
    interval : array-like of shape (n_samples, 2)
        Lower and upper bounds in years, as `predict_interval` returns them; the bounds
        belong to the interval.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    coverage : float
        From 0 to 1.

    Raises
    ------
    ValueError
        If an age or bound is not a finite number, lengths differ, or a lower bound is above
        its upper bound.

    Examples
    --------
    >>> from skage.metrics import interval_coverage
    >>> interval_coverage([20, 30], [[18, 25], [31, 40]])
    0.5
    """
    y_true, low, high, weight = check_interval(y_true, interval, sample_weight)
    return float(np.average((low <= y_true) & (y_true <= high), weights=weight))


def interval_width(y_true: Any, interval: Any, *, sample_weight: Any = None) -> float:
    """Compute the mean width of predicted intervals.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True ages in years. The width does not depend on them; they are accepted so that all
        metrics of intervals are called alike.
    interval : array-like of shape (n_samples, 2)
        Lower and upper bounds in years, as `predict_interval` returns them.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    width : float
        In years.

    Raises
    ------
    ValueError
        If an age or bound is not a finite number, lengths differ, or a lower bound is above
        its upper bound.

    Examples
    --------
    >>> from skage.metrics import interval_width
    >>> interval_width([20, 30], [[18, 25], [31, 40]])
    8.0
    """
    _, low, high, weight = check_interval(y_true, interval, sample_weight)
    return float(np.average(high - low, weights=weight))


def winkler_score(
    y_true: Any, interval: Any, coverage: float = 0.9, *, sample_weight: Any = None
) -> float:
    """Compute the Winkler score of predicted central intervals, also called interval score.

    It is the mean width of the intervals, plus ``2 / (1 - coverage)`` times the distance of
    each true age that is outside (Winkler, JASA 1972; Gneiting and Raftery, JASA 2007,
    equation 43). The intervals between the true quantiles have the lowest expected score,
    so that intervals of different models may be compared although their coverages differ.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True ages in years.
    interval : array-like of shape (n_samples, 2)
        Lower and upper bounds in years, as `predict_interval` returns them.
    coverage : float, default=0.9
        The coverage that the intervals were predicted for, above 0 and below 1.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    score : float
        In years, lower is better.

    Raises
    ------
    ValueError
        If an age or bound is not a finite number, lengths differ, a lower bound is above its
        upper bound, or `coverage` is not between 0 and 1.

    Examples
    --------
    >>> from skage.metrics import winkler_score
    >>> winkler_score([20, 30], [[18, 25], [31, 40]], coverage=0.8)
    13.0
    """
    missed = 2 / (1 - check_between(coverage, "coverage", 0.9))
    y_true, low, high, weight = check_interval(y_true, interval, sample_weight)
    distance = np.maximum(low - y_true, 0) + np.maximum(y_true - high, 0)
    return float(np.average(high - low + missed * distance, weights=weight))
