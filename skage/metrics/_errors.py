"""Errors of predicted ages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length

from .._checks import check_ages
from ._checks import check_pair, check_positive
from ._rates import cells, check_sexes


def absolute_error_std(y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> float:
    """Compute the standard deviation of the absolute errors.

    The certificates of the Age Check Certification Scheme (ACCS) give it beside the mean
    absolute error. The squared deviations are averaged over n, not n - 1.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted ages in years.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    std : float
        In years.

    Raises
    ------
    ValueError
        If an age is not a finite number, or lengths differ.

    Examples
    --------
    >>> from skage.metrics import absolute_error_std
    >>> absolute_error_std([20, 30, 40, 50], [21, 29, 43, 47])
    1.0
    """
    y_true, y_pred, weight = check_pair(y_true, y_pred, sample_weight)
    errors = np.abs(y_true - y_pred)
    deviations = errors - np.average(errors, weights=weight)
    return float(np.sqrt(np.average(deviations**2, weights=weight)))


def mean_error(y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> float:
    """Compute the mean of predicted minus true ages (bias).

    Above 0, people are taken for older than they are. It is 0 if errors of both signs
    cancel, and is therefore best computed by band of age.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted ages in years.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    error : float
        In years.

    Raises
    ------
    ValueError
        If an age is not a finite number, or lengths differ.

    Examples
    --------
    >>> from skage.metrics import mean_error
    >>> mean_error([20, 30], [23, 29])
    1.0
    """
    y_true, y_pred, weight = check_pair(y_true, y_pred, sample_weight)
    return float(np.average(y_pred - y_true, weights=weight))


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
    y_true, y_pred, weight = check_pair(y_true, y_pred, sample_weight)
    return float(np.average(np.abs(y_true - y_pred) <= threshold, weights=weight))


def cumulative_score_area(
    y_true: Any,
    y_pred: Any,
    max_threshold: float = 10,
    *,
    sample_weight: Any = None,
) -> float:
    """Compute the area under the curve of the cumulative score, divided by its length.

    It is the mean of CS@k over all k from 0 to K = `max_threshold`. An error e is within
    the thresholds from e to K, so that the area is exactly the mean of max(0, 1 - e / K).
    Unlike one threshold it does not jump, and unlike the mean absolute error it does not
    depend on how large the errors beyond K are. Face alignment uses the same measure of its
    errors (Yang, Jia, Loy and Robinson, "An Empirical Study of Recent Face Alignment
    Methods", arXiv 1511.05049, 2015).

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        Ages in years.
    max_threshold : float, default=10
        In years.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    score : float
        From 0 to 1, higher is better.

    Raises
    ------
    ValueError
        If an age is not a finite number, or `max_threshold` is not above 0.

    Examples
    --------
    >>> from skage.metrics import cumulative_score_area
    >>> cumulative_score_area([20, 30, 40, 50], [20, 35, 50, 80])
    0.375
    """
    check_positive(max_threshold, "max_threshold")
    y_true, y_pred, weight = check_pair(y_true, y_pred, sample_weight)
    scores = np.clip(1 - np.abs(y_true - y_pred) / max_threshold, 0, None)
    return float(np.average(scores, weights=weight))


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
    _, errors, _ = _errors_of_bands(y_true, y_pred, width, sample_weight)
    return float(np.mean(errors))


def worst_band_error(
    y_true: Any,
    y_pred: Any,
    *,
    width: float = 10,
    min_count: int = 30,
    sample_weight: Any = None,
) -> float:
    """Compute the largest mean absolute error of a band of true ages.

    The error in the worst of several groups is what a model that is fair to all of them
    would keep low (Sagawa et al., "Distributionally Robust Neural Networks for Group
    Shifts", ICLR 2020). The bands are [0, 10), [10, 20) and so on. `skage.evaluate` lists
    the errors of all bands.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted ages in years.
    width : float, default=10
        Width of the bands in years.
    min_count : int, default=30
        Bands with fewer images are left out, as the mean of a few errors can be large by
        chance. Images of weight 0 do not count.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples within their band.

    Returns
    -------
    error : float
        In years.

    Raises
    ------
    ValueError
        If an age is not a finite number, `width` is not above 0, or no band has `min_count`
        images.

    Examples
    --------
    >>> from skage.metrics import worst_band_error
    >>> worst_band_error([21, 25, 34, 38, 71], [20, 25, 37, 33, 50], min_count=2)
    4.0
    """
    starts, errors, counts = _errors_of_bands(y_true, y_pred, width, sample_weight)
    large = counts >= min_count
    if not large.any():
        most = int(np.argmax(counts))
        raise ValueError(
            f"No band of {width:g} years has min_count={min_count} images: the largest, from "
            f"{starts[most]:g} years, has {counts[most]}. Use a larger width or a smaller "
            "min_count."
        )
    return float(errors[large].max())


def nist_mean_absolute_error(
    y_true: Any,
    y_pred: Any,
    sex: Any,
    *,
    ages: Iterable[int] = range(18, 31),
    sample_weight: Any = None,
) -> float:
    """Compute the mean of the mean absolute errors of each sex and year of age, as NIST does.

    NIST's Face Analysis Technology Evaluation of age estimation and verification (FATE AEV)
    averages over 26 cells: two sexes and the ages 18 to 30. Each cell counts alike, however
    many images it has.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted ages in years. A true age of 18 is at least 18 and below 19.
    sex : array-like of shape (n_samples,)
        Sex of the persons; any two labels.
    ages : iterable of int, default=range(18, 31)
        Years of age to average over; images of other ages are left out.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples within their cell.

    Returns
    -------
    error : float
        In years.

    Raises
    ------
    ValueError
        If an age is not a finite number, there are not two sexes, or a cell has no image.

    Examples
    --------
    >>> from skage.metrics import nist_mean_absolute_error
    >>> y_true, y_pred = [18, 18, 19, 18, 19], [18, 20, 23, 18, 22]
    >>> nist_mean_absolute_error(y_true, y_pred, ["f", "f", "f", "m", "m"], ages=[18, 19])
    2.0
    """
    y_true, y_pred, weight = check_pair(y_true, y_pred, sample_weight)
    sexes = check_sexes(sex, y_true)
    weight = np.ones(len(y_true)) if weight is None else weight
    # An image of weight 0 is in no cell.
    years = np.where(weight > 0, np.floor(y_true), np.nan)
    errors = np.abs(y_true - y_pred)
    found = [
        np.average(errors[mask], weights=weight[mask])
        for _, mask in cells(sex=sexes, age=(years, list(ages)))
    ]
    return float(np.mean(found))


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
    y_true, y_pred, weight = check_pair(y_true, y_pred, sample_weight)
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


def _errors_of_bands(y_true, y_pred, width, sample_weight):
    """Return the start, the mean absolute error and the number of images of each band."""
    check_positive(width, "width")
    y_true, y_pred, weight = check_pair(y_true, y_pred, sample_weight)
    weight = np.ones(len(y_true)) if weight is None else weight
    bands, codes = np.unique(np.floor(y_true / width), return_inverse=True)
    totals, counts = np.bincount(codes, weight), np.bincount(codes, weight > 0).astype(int)
    errors = np.bincount(codes, weight * np.abs(y_true - y_pred))
    some = counts > 0
    return bands[some] * width, errors[some] / totals[some], counts[some]
