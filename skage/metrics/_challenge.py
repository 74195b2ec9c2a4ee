"""What passes a limit of age: figures of challenge ages, as auditors give them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics
from sklearn.utils.validation import check_consistent_length

from .._checks import check_ages, check_weights
from ._checks import check_between, check_pair
from ._rates import binomial_interval, cells, check_labels, check_sexes, upper_bound

CHALLENGE_AGES = range(18, 31)


def pass_rates(
    y_true: Any,
    y_pred: Any,
    *,
    limit: float = 18,
    challenge_ages: Iterable[float] = CHALLENGE_AGES,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Count who passes of each year of true age below a limit, at several challenge ages.

    Who is estimated at the challenge age or above passes; all others are asked for proof of
    their age. A few 17-year-olds who pass are less concerning than as many 8-year-olds, so
    that the rate is given for each year of age (Age Verification Providers Association to
    NIST, 2023).

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted ages in years.
    limit : float, default=18
        In years.
    challenge_ages : iterable of float, default=range(18, 31)
        In years.
    confidence : float, default=0.95
        Of the exact (Clopper-Pearson) bounds.

    Returns
    -------
    table : DataFrame
        A row for each challenge age and whole year of true age, from the youngest to the
        limit, with the columns challenge_age, age, n (images), passed, rate, low and high.
        The rate of a year without images is NaN, between 0 and 1.

    Raises
    ------
    ValueError
        If an age is not a finite number, lengths differ, or no true age is below `limit`.

    Examples
    --------
    >>> from skage.metrics import pass_rates
    >>> y_true, y_pred = [15, 17, 17, 17, 17], [16, 18, 19, 26, 17]
    >>> pass_rates(y_true, y_pred, challenge_ages=[25]).round(2)
       challenge_age  age  n  passed  rate   low  high
    0             25   15  1       0  0.00  0.00  0.98
    1             25   16  0       0   NaN  0.00  1.00
    2             25   17  4       1  0.25  0.01  0.81
    """
    y_true, y_pred = _check_below(y_true, y_pred, limit)
    years = np.floor(y_true).astype(int)
    ages = np.arange(years.min(), int(np.ceil(limit)))
    n = np.bincount(years - ages[0], minlength=len(ages))
    tables = []
    for challenge_age in challenge_ages:
        passed = np.bincount((years - ages[0])[y_pred >= challenge_age], minlength=len(ages))
        rates = _rates(passed, n, confidence)
        tables.append(pd.DataFrame({"challenge_age": challenge_age, "age": ages, **rates}))
    return pd.concat(tables, ignore_index=True)


def smallest_challenge_age(
    y_true: Any,
    y_pred: Any,
    *,
    limit: float = 18,
    max_rate: float = 0.01,
    confidence: float = 0.95,
    challenge_ages: Iterable[float] = CHALLENGE_AGES,
) -> float | None:
    """Find the smallest challenge age at which few of those below the limit pass.

    The one-sided exact (Clopper-Pearson) upper bound of the share that passes is at most
    `max_rate`. The bound falls as the challenge age rises, so that it needs no correction
    for the choice among several: this is a test of each challenge age in a fixed sequence,
    from the highest down, which ends at the first that fails (Angelopoulos et al., "Learn
    then Test", arXiv 2110.01052, 2021).

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted ages in years. Only images of true ages below the limit matter;
        leave out others to judge by the ages close to it, such as 17 alone.
    limit : float, default=18
        In years.
    max_rate : float, default=0.01
        Wanted share of those below the limit who pass, above 0 and below 1.
    confidence : float, default=0.95
        Probability, above 0 and below 1, that the true share at the challenge age found is
        at most `max_rate`. It holds for independent images: one of each person.
    challenge_ages : iterable of float, default=range(18, 31)
        In years.

    Returns
    -------
    challenge_age : float or None
        One of `challenge_ages`. None if the bound is above `max_rate` at all of them. That
        is always so for fewer than ``log(1 - confidence) / log(1 - max_rate)`` images, by
        default 299.

    Raises
    ------
    ValueError
        If an age is not a finite number, lengths differ, no true age is below `limit`, or
        `max_rate` or `confidence` is not between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skage.metrics import smallest_challenge_age
    >>> rng = np.random.default_rng(0)
    >>> y_true = rng.uniform(14, 18, 1000)
    >>> smallest_challenge_age(y_true, rng.normal(y_true, 2))
    22
    """
    check_between(max_rate, "max_rate", 0.01)
    check_between(confidence, "confidence", 0.95)
    _, y_pred = _check_below(y_true, y_pred, limit)
    for challenge_age in sorted(challenge_ages):
        if upper_bound((y_pred >= challenge_age).sum(), len(y_pred), confidence) <= max_rate:
            return challenge_age
    return None


def nist_false_positive_rate(
    y_true: Any,
    y_pred: Any,
    sex: Any,
    group: Any = None,
    *,
    challenge_age: float = 25,
    age: int = 17,
) -> float:
    """Compute the mean share of each sex and group of one age that passes, as NIST does.

    NIST's Face Analysis Technology Evaluation of age estimation and verification (FATE AEV)
    averages, for subjects aged 17 at Challenge 25, over 12 cells: two sexes and six regions
    of birth. Each cell counts alike, however many images it has.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted ages in years.
    sex : array-like of shape (n_samples,)
        Sex of the persons; any two labels.
    group : array-like of shape (n_samples,), default=None
        Group of the persons, such as their region of birth. None averages over the sexes
        alone.
    challenge_age : float, default=25
        In years. Who is estimated at this age or above passes.
    age : int, default=17
        Year of true age; images of other ages are left out.

    Returns
    -------
    rate : float
        From 0 to 1, lower is better.

    Raises
    ------
    ValueError
        If an age is not a finite number, lengths differ, there are not two sexes, or a cell
        has no image.

    Examples
    --------
    >>> from skage.metrics import nist_false_positive_rate
    >>> nist_false_positive_rate([17, 17, 17, 17], [20, 26, 21, 22], ["f", "f", "m", "m"])
    0.25
    """
    y_true, y_pred, _ = check_pair(y_true, y_pred)
    labels = {"sex": check_sexes(sex, y_true)}
    if group is not None:
        labels["group"] = check_labels(group, "group", y_true)
    found = cells(**labels, age=(np.floor(y_true), [age]))
    return float(np.mean([np.mean(y_pred[mask] >= challenge_age) for _, mask in found]))


def age_range_table(
    y_true: Any,
    y_pred: Any,
    *,
    low: int = 13,
    high: int = 16,
    below: tuple[int, int] = (8, 12),
    above: tuple[int, int] = (17, 22),
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compute how well an age range is told from the years around it, as NIST does.

    These are the figures for the safety of children online, ages 13 to 16, of NIST's Face
    Analysis Technology Evaluation of age estimation and verification (FATE AEV). All ranges
    are in whole years and include both: someone is estimated at 13 to 16 if the predicted
    age is at least 13 and below 17. The true and false negative rates do not sum to 1 if
    ages outside all ranges are predicted.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted ages in years.
    low, high : int, default=13, 16
        First and last year of age of the range.
    below, above : (int, int), default=(8, 12), (17, 22)
        First and last year of age of the ranges around it.
    confidence : float, default=0.95
        Of the exact (Clopper-Pearson) bounds.

    Returns
    -------
    table : DataFrame
        A row for each figure, with the columns n (images it is taken over), value, low and
        high:

        - mae: mean of the mean absolute errors of each year of age of the range, in years,
          without bounds;
        - true_positive_rate: share of the range that is estimated to be in it;
        - false_negative_rate_down, false_negative_rate_up: share of the range that is
          estimated to be in the range below, or above;
        - false_positive_rate_below, false_positive_rate_above: share of the range below, or
          above, that is estimated to be in the range.

    Raises
    ------
    ValueError
        If an age is not a finite number, lengths differ, the ranges do not ascend, or a
        year of the range has no image.

    Examples
    --------
    >>> from skage.metrics import age_range_table
    >>> y_true, y_pred = [13, 14, 15, 16, 10, 20], [12, 14.5, 16, 19, 13, 20]
    >>> age_range_table(y_true, y_pred).rename_axis(None)[["n", "value"]]
                               n  value
    mae                        4  1.375
    true_positive_rate         4  0.500
    false_negative_rate_down   4  0.250
    false_negative_rate_up     4  0.250
    false_positive_rate_below  1  1.000
    false_positive_rate_above  1  0.000
    """
    bounds = [*below, low, high, *above]
    if bounds != sorted(bounds) or not below[1] < low or not high < above[0]:
        raise ValueError(
            f"The ranges {below}, {(low, high)} and {above} do not ascend. Pass the first and last "
            "year of each, without overlap."
        )
    y_true, y_pred, _ = check_pair(y_true, y_pred)
    errors = np.abs(y_true - y_pred)
    years = cells(age=(np.floor(y_true), range(low, high + 1)))
    mae = float(np.mean([errors[mask].mean() for _, mask in years]))
    of, estimated = (
        {
            name: (first <= ages) & (ages < last + 1)
            for name, (first, last) in (("range", (low, high)), ("below", below), ("above", above))
        }
        for ages in (y_true, y_pred)
    )
    pairs = {
        "true_positive_rate": ("range", "range"),
        "false_negative_rate_down": ("range", "below"),
        "false_negative_rate_up": ("range", "above"),
        "false_positive_rate_below": ("below", "range"),
        "false_positive_rate_above": ("above", "range"),
    }
    counts = [((of[a] & estimated[b]).sum(), of[a].sum()) for a, b in pairs.values()]
    k, n = np.array(counts).T
    rates = pd.DataFrame(_rates(k, n, confidence), index=[*pairs])
    table = rates.drop(columns="passed").rename(columns={"rate": "value"})
    first = pd.DataFrame(
        {"n": of["range"].sum(), "value": mae, "low": np.nan, "high": np.nan}, ["mae"]
    )
    return pd.concat([first, table]).rename_axis("figure")


def det_curve(
    y_true: Any, probability: Any, limit: float = 18, *, sample_weight: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the error rates of a check of age at all thresholds of a probability.

    Who has at least the threshold passes. The curve of the two rates is the detection error
    tradeoff (Martin et al., Eurospeech 1997), which NIST gives for a limit of 18.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True ages in years.
    probability : array-like of shape (n_samples,)
        Probability of being over the limit, as `over_limit_probability` returns it, or
        another score that rises with age, such as the predicted age.
    limit : float, default=18
        In years.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    false_pass_rate : ndarray of shape (n_thresholds,)
        Share of those below the limit who pass.
    false_fail_rate : ndarray of shape (n_thresholds,)
        Share of those from the limit on who do not pass.
    thresholds : ndarray of shape (n_thresholds,)
        Ascending.

    Raises
    ------
    ValueError
        If a value is not a finite number, lengths differ, or all true ages are on one side
        of the limit.

    See Also
    --------
    sklearn.metrics.det_curve : The curve of any two classes.

    Examples
    --------
    >>> from skage.metrics import det_curve
    >>> false_pass_rate, false_fail_rate, thresholds = det_curve(
    ...     [16, 17, 19, 30], [0.1, 0.6, 0.4, 0.9]
    ... )
    >>> false_pass_rate, false_fail_rate
    (array([0.5, 0.5, 0. ]), array([0. , 0.5, 0.5]))
    """
    y_true, probability = check_ages(y_true, "y_true"), check_ages(probability, "probability")
    check_consistent_length(y_true, probability)
    weight = None if sample_weight is None else check_weights(sample_weight, len(y_true))
    over = y_true >= limit
    counted = over if weight is None else over[weight > 0]
    if counted.all() or not counted.any():
        side = "below" if not counted.any() else "at or above"
        raise ValueError(
            f"All {len(counted)} true ages are {side} limit={limit:g}, so that one of the two "
            "rates is not defined. Add images of the other side."
        )
    return metrics.det_curve(over, probability, sample_weight=weight)


def _check_below(y_true, y_pred, limit):
    """Return true and predicted ages of those below the limit."""
    y_true, y_pred, _ = check_pair(y_true, y_pred)
    below = y_true < limit
    if not below.any():
        raise ValueError(
            f"None of the {len(y_true)} true ages is below limit={limit:g}, so that nobody could "
            "pass wrongly. Add images of such ages."
        )
    return y_true[below], y_pred[below]


def _rates(passed, n, confidence):
    """Return the columns of a table of rates."""
    rate = np.divide(passed, n, out=np.full(len(n), np.nan), where=n > 0)
    low, high = binomial_interval(passed, n, confidence)
    return {"n": n, "passed": passed, "rate": rate, "low": low, "high": high}
