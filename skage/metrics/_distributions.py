"""Scores and calibration of predicted distributions of age."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from .._checks import check_ages, check_weights
from ..binning import AgeBinner
from ._checks import check_positive

_CHUNK = 2**20  # numbers of a chunk of rows: 8 MB, and a few times as much in between

#: Levels at which the calibration error is taken.
LEVELS = np.arange(1, 100) / 100


def crps(y_true: Any, distribution: Any, binner: AgeBinner, *, sample_weight: Any = None) -> float:
    """Compute the continuous ranked probability score (CRPS).

    It is the integral over all ages x of ``(F(x) - 1[x >= y])^2``, where F is the predicted
    distribution function and y the true age (Gneiting and Raftery, JASA 2007, section 4.2).
    It is a proper score: no other distribution has a lower expected score than the true
    one. For a distribution on a single age it is the absolute error, so that it is
    comparable to the mean absolute error. It is computed exactly, for the piecewise uniform
    density that the Notes of `AgeBinner` describe.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True ages in years.
    distribution : array-like of shape (n_samples, n_bins)
        As `predict_dist` returns it.
    binner : AgeBinner
        The fitted bins, such as `binner_` of a model.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    score : float
        In years, lower is better.

    Raises
    ------
    ValueError
        If an age is not a finite number, lengths differ, or a row is not a distribution.

    Examples
    --------
    >>> from skage import AgeBinner
    >>> from skage.metrics import crps
    >>> binner = AgeBinner([0, 20, 40], representative="midpoint").fit([10, 30])
    >>> round(crps([20, 30], [[0.5, 0.5], [0, 1]], binner), 4)
    2.5
    """
    return _mean(crps_values(y_true, distribution, binner), sample_weight)


def negative_log_likelihood(
    y_true: Any,
    distribution: Any,
    binner: AgeBinner,
    *,
    min_density: float = 1e-6,
    sample_weight: Any = None,
) -> float:
    """Compute the mean of the negative logarithm of the predicted density at the true age.

    The logarithmic score (Gneiting and Raftery, JASA 2007, section 4.1) weighs an age that
    was thought impossible far more than the CRPS does. The density is that of the Notes of
    `AgeBinner`, in 1 / year.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True ages in years.
    distribution : array-like of shape (n_samples, n_bins)
        As `predict_dist` returns it.
    binner : AgeBinner
        The fitted bins, such as `binner_` of a model.
    min_density : float, default=1e-6
        Smaller densities count as this one, in 1 / year. Outside the ages of the bins the
        density is 0, and one such age would make the mean infinite. The default counts it
        as 13.8.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    score : float
        In nats, lower is better. It may be negative, as a density may be above 1.

    Raises
    ------
    ValueError
        If an age is not a finite number, lengths differ, a row is not a distribution, or
        `min_density` is not above 0.

    Notes
    -----
    Ages in whole years are discrete, whereas the density is continuous. With a bin for each
    year it is the probability of the year; with narrower bins it could be arbitrarily large
    at whole years. Compare models of the same bins, or of bins of a year or more.

    Examples
    --------
    >>> from skage import AgeBinner
    >>> from skage.metrics import negative_log_likelihood
    >>> binner = AgeBinner([0, 20, 40], representative="midpoint").fit([10, 30])
    >>> round(negative_log_likelihood([15, 30], [[0.5, 0.5], [0, 1]], binner), 4)
    3.3423
    """
    values = nll_values(y_true, distribution, binner, min_density=min_density)
    return _mean(values, sample_weight)


def pit_values(y_true: Any, distribution: Any, binner: AgeBinner) -> np.ndarray:
    """Compute the probability integral transform: the predicted probability below the true age.

    If the predicted distributions are right, these values are uniform between 0 and 1
    (Dawid, JRSS A 1984; Gneiting, Balabdaoui and Raftery, JRSS B 2007). Values that gather
    at the ends show distributions that are too narrow, values in the middle distributions
    that are too wide.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True ages in years.
    distribution : array-like of shape (n_samples, n_bins)
        As `predict_dist` returns it.
    binner : AgeBinner
        The fitted bins, such as `binner_` of a model.

    Returns
    -------
    values : ndarray of shape (n_samples,)
        From 0 to 1.

    Raises
    ------
    ValueError
        If an age is not a finite number, lengths differ, or a row is not a distribution.

    Notes
    -----
    The values of ages in whole years are those of the middle of the year, as a binner
    spreads the age y over y - 0.5 to y + 0.5. Where a distribution is hardly wider than a
    year, as for babies, they gather around 0.5 even if it is right. See the `age_step` of
    `calibration_error`.

    Examples
    --------
    >>> from skage import AgeBinner
    >>> from skage.metrics import pit_values
    >>> binner = AgeBinner([0, 20, 40], representative="midpoint").fit([10, 30])
    >>> pit_values([10, 30], [[0.5, 0.5], [0, 1]], binner)
    array([0.25, 0.5 ])
    """
    return _by_rows(_cdf_at, y_true, distribution, binner)


def calibration_error(
    y_true: Any,
    distribution: Any,
    binner: AgeBinner,
    *,
    age_step: float = 0,
    sample_weight: Any = None,
) -> float:
    """Compute how far predicted levels of probability are from the shares of true ages.

    For each level p, a share p of the true ages should be below the predicted quantile of
    level p (Kuleshov, Fenner and Ermon, ICML 2018, section 3). The error is the mean
    absolute difference between level and share over the levels 0.01 to 0.99. The paper
    sums the squares of the differences.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True ages in years.
    distribution : array-like of shape (n_samples, n_bins)
        As `predict_dist` returns it.
    binner : AgeBinner
        The fitted bins, such as `binner_` of a model.
    age_step : float, default=0
        Step of the true ages in years: 1 for ages in whole years. Each age y is then spread
        evenly over the probabilities from F(y - 1/2) to F(y + 1/2), so that the error of
        the right distributions is 0 although ages are discrete (the nonrandomised PIT
        of Czado, Gneiting and Held, Biometrics 2009).
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    error : float
        From 0 to 0.5, lower is better.

    Raises
    ------
    ValueError
        If an age is not a finite number, lengths differ, a row is not a distribution, or
        `age_step` is negative.

    See Also
    --------
    pit_values : The values whose distribution is compared to the uniform one.

    Examples
    --------
    >>> from skage import AgeBinner
    >>> from skage.metrics import calibration_error
    >>> binner = AgeBinner([0, 20, 40], representative="midpoint").fit([10, 30])
    >>> round(calibration_error([5, 15, 25, 35], [[0.5, 0.5]] * 4, binner), 4)
    0.063
    """
    if age_step:
        check_positive(age_step, "age_step")
    y_true = check_ages(y_true, "y_true")
    low, high = (
        pit_values(y_true + half, distribution, binner) for half in (-age_step / 2, age_step / 2)
    )
    weight = None if sample_weight is None else check_weights(sample_weight, len(y_true))
    shares = [np.average(share_below(level, low, high), weights=weight) for level in LEVELS]
    return float(np.abs(shares - LEVELS).mean())


def over_limit_probability(distribution: Any, binner: AgeBinner, limit: float = 18) -> np.ndarray:
    """Compute the predicted probability that a person is at least as old as a limit.

    Parameters
    ----------
    distribution : array-like of shape (n_samples, n_bins)
        As `predict_dist` returns it.
    binner : AgeBinner
        The fitted bins, such as `binner_` of a model.
    limit : float, default=18
        Limit of age in years.

    Returns
    -------
    probability : ndarray of shape (n_samples,)
        From 0 to 1; NaN for images without a prediction.

    Raises
    ------
    ValueError
        If a row is not a distribution, or `limit` is not a finite number.

    Notes
    -----
    A binner that was fitted to ages in whole years spreads the age of 18 over 17.5 to 18.5.
    The probability that a person's age in whole years is 18 or above is then that of
    ``limit=17.5``.

    Examples
    --------
    >>> from skage import AgeBinner
    >>> from skage.metrics import over_limit_probability
    >>> binner = AgeBinner([0, 20, 40], representative="midpoint").fit([10, 30])
    >>> over_limit_probability([[0.5, 0.5], [0, 1]], binner, limit=18)
    array([0.55, 1.  ])
    """
    below = binner.cdf(distribution, check_ages([limit], "limit"))[:, 0]
    return np.clip(1 - below, 0, 1)


def crps_values(y_true: Any, distribution: Any, binner: AgeBinner) -> np.ndarray:
    """Return the CRPS of each row, in years."""
    return _by_rows(_crps, y_true, distribution, binner)


def nll_values(
    y_true: Any, distribution: Any, binner: AgeBinner, *, min_density: float = 1e-6
) -> np.ndarray:
    """Return the negative log-likelihood of each row, in nats."""
    if not 0 < min_density < np.inf:
        raise ValueError(f"min_density={min_density!r} must be above 0. Pass a density per year.")
    density = _by_rows(_density_at, y_true, distribution, binner)
    return -np.log(np.maximum(density, min_density))


def _by_rows(of_rows: Callable, y_true: Any, distribution: Any, binner: AgeBinner) -> np.ndarray:
    """Apply a function of ages, starts, ends and masses of pieces to chunks of rows."""
    y_true = check_ages(y_true, "y_true")
    check_is_fitted(binner)
    given = np.asarray(distribution)
    check_consistent_length(y_true, given)
    p = binner._check_probabilities(given)
    unknown = np.isnan(p).any(axis=1)
    if unknown.any():
        raise ValueError(
            f"distribution[{int(np.argmax(unknown))}] is NaN: {unknown.sum()} of {len(p)} images "
            "have no prediction. Leave them out, and count them."
        )
    found = np.empty(len(y_true))
    for rows in _chunks(len(p), 4 * p.shape[1]):
        start, end, mass = binner._pieces(p[rows])
        found[rows] = of_rows(y_true[rows], start, end, mass / mass.sum(axis=1, keepdims=True))
    return found


def _chunks(n_rows: int, n_columns: int) -> Iterator[slice]:
    size = max(1, _CHUNK // n_columns)
    for begin in range(0, n_rows, size):
        yield slice(begin, begin + size)


def _curve(start, end, mass):
    """Return the corners of the distribution function: ages (k,), and values (n, k).

    Between two corners it is linear. The supports of the bins ascend and do not overlap, but
    there may be a gap between two of them.
    """
    ages = np.stack([start, end], axis=1).ravel()
    above = np.minimum(np.cumsum(mass, axis=1), 1)
    above[:, -1] = 1
    below = np.hstack([np.zeros((len(mass), 1)), above[:, :-1]])
    return ages, np.stack([below, above], axis=2).reshape(len(mass), -1)


def _value_at(y, ages, values):
    """Interpolate the distribution function of each row at its age."""
    rows = np.arange(len(y))
    left = (np.searchsorted(ages, y, side="right") - 1).clip(0, len(ages) - 2)
    width = ages[left + 1] - ages[left]
    share = np.divide(y - ages[left], width, out=(y >= ages[left + 1]) * 1.0, where=width > 0)
    below, above = values[rows, left], values[rows, left + 1]
    return below + (above - below) * share.clip(0, 1)


def _cdf_at(y, start, end, mass):
    return _value_at(y, *_curve(start, end, mass))


def _crps(y, start, end, mass):
    ages, values = _curve(start, end, mass)
    at_y = _value_at(y, ages, values)[:, None]
    # The curve up to y, and from y on: the corners on the other side of y move to y.
    before = _integral_of_square(np.minimum(ages, y[:, None]), np.minimum(values, at_y))
    after = _integral_of_square(np.maximum(ages, y[:, None]), 1 - np.maximum(values, at_y))
    outside = np.maximum(ages[0] - y, 0) + np.maximum(y - ages[-1], 0)
    return before + after + outside


def _integral_of_square(x, f):
    """Integrate the square of functions that are linear between the corners (x, f)."""
    left, right = f[:, :-1], f[:, 1:]
    return (np.diff(x, axis=1) * (left**2 + left * right + right**2)).sum(axis=1) / 3


def _density_at(y, start, end, mass):
    width = end - start
    piece = (np.searchsorted(start, y, side="right") - 1).clip(0)
    # The last piece that has a width includes the age at which it ends.
    last = int(np.flatnonzero(width > 0)[-1])
    piece = np.where(y == end[last], last, piece)
    inside = (start[piece] <= y) & ((y < end[piece]) | (y == end[last])) & (width[piece] > 0)
    heights = mass[np.arange(len(y)), piece]
    return np.divide(heights, width[piece], out=np.zeros(len(y)), where=inside)


def share_below(level, low, high):
    """Return the share of each interval of probabilities that is at or below a level."""
    width = high - low
    share = np.divide(level - low, width, out=(low <= level) * 1.0, where=width > 0)
    return share.clip(0, 1)


def _mean(values, sample_weight):
    weight = None if sample_weight is None else check_weights(sample_weight, len(values))
    return float(np.average(values, weights=weight))
