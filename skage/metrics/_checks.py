"""Checks of ages, predictions and intervals, and the selection of what was predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length

from .._checks import check_ages, check_weights


def check_pair(
    y_true: Any, y_pred: Any, sample_weight: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return true ages, predicted ages and weights as arrays of one length."""
    y_true, y_pred = check_ages(y_true, "y_true"), check_ages(y_pred, "y_pred")
    check_consistent_length(y_true, y_pred)
    weight = None if sample_weight is None else check_weights(sample_weight, len(y_true))
    return y_true, y_pred, weight


def check_interval(
    y_true: Any, interval: Any, sample_weight: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return true ages, lower bounds, upper bounds and weights as arrays of one length."""
    y_true = check_ages(y_true, "y_true")
    interval = np.asarray(interval)
    if interval.ndim != 2 or interval.shape[1] != 2:
        raise ValueError(
            f"interval must have the shape (n_samples, 2), with a lower and an upper bound in "
            f"each row; got shape {interval.shape}. Pass what predict_interval returns."
        )
    low, high = (check_ages(interval[:, i], f"interval[:, {i}]") for i in range(2))
    check_consistent_length(y_true, low)
    if (low > high).any():
        first = int(np.argmax(low > high))
        raise ValueError(
            f"interval[{first}] has a lower bound of {low[first]:g} above its upper bound of "
            f"{high[first]:g}. Pass the lower bounds in the first column."
        )
    weight = None if sample_weight is None else check_weights(sample_weight, len(y_true))
    return y_true, low, high, weight


def check_between(value: Any, name: str, example: float) -> float:
    """Return a number between 0 and 1 that is neither."""
    if not (isinstance(value, int | float | np.number) and 0 < value < 1):
        raise ValueError(f"{name}={value!r} must lie between 0 and 1, for example {example:g}.")
    return float(value)


def check_positive(value: Any, name: str) -> float:
    """Return a finite number of years above 0."""
    if not (isinstance(value, int | float | np.number) and 0 < value < np.inf):
        raise ValueError(f"{name}={value!r} must be above 0. Pass a number of years.")
    return float(value)


def predicted_only(y_true, y_pred, *others):
    """Select the samples that have a prediction.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Ages in years.
    y_pred : array-like of shape (n_samples,)
        In years; NaN for images without a prediction.
    *others : array-like of shape (n_samples, ...) or None
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
