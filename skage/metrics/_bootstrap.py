"""Bootstrap confidence intervals of metrics, with the images of a person kept together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length

from .._groups import group_codes
from .._sklearn import safe_indexing
from ._checks import check_between


def bootstrap_interval(
    metric: Callable[..., float],
    *arrays: Any,
    groups: Any = None,
    sample_weight: Any = None,
    n_resamples: int = 1000,
    confidence_level: float = 0.95,
    random_state: Any = None,
    **kwargs: Any,
) -> tuple[float, float]:
    """Compute a percentile bootstrap confidence interval of any metric.

    The images are drawn with replacement, and the metric is computed of each sample (Efron
    and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). Images of one
    person are alike. With `groups`, whole persons are drawn, which gives wider and more
    honest intervals; `scipy.stats.bootstrap` cannot do so.

    Parameters
    ----------
    metric : callable
        Called as ``metric(*arrays, **kwargs)``, it returns a number.
    *arrays : array-like of shape (n_samples, ...) or None
        Values of each image, such as true and predicted ages. None is passed on.
    groups : array-like of shape (n_samples,), default=None
        Persons. None draws single images.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights, which are drawn with the images and passed to the metric by name.
    n_resamples : int, default=1000
        Number of bootstrap samples.
    confidence_level : float, default=0.95
        Above 0 and below 1.
    random_state : int, RandomState instance or None, default=None
        Seeds the draws. The same seed gives the same samples to all metrics.
    **kwargs : dict
        Passed to the metric as they are, such as `binner` or `threshold`. Values of each
        image belong to `arrays`.

    Returns
    -------
    low, high : float
        Bounds of the interval.

    Raises
    ------
    ValueError
        If lengths differ, a group is missing, `confidence_level` is not between 0 and 1,
        `n_resamples` is not at least 1, or the metric raises it on a sample, for example
        where a small cell has none of the images drawn.

    Examples
    --------
    >>> from skage.metrics import bootstrap_interval, mean_absolute_error
    >>> y_true, y_pred = [20, 30, 40, 50, 60, 70], [22, 29, 41, 55, 60, 67]
    >>> low, high = bootstrap_interval(mean_absolute_error, y_true, y_pred, random_state=0)
    >>> round(low, 2), round(high, 2)
    (0.83, 3.5)
    """
    tail = (1 - check_between(confidence_level, "confidence_level", 0.95)) / 2
    if not (isinstance(n_resamples, Integral) and n_resamples >= 1):
        raise ValueError(f"n_resamples={n_resamples!r} must be a whole number of at least 1.")
    given = [a for a in (*arrays, sample_weight, groups) if a is not None]
    if all(a is None for a in arrays):
        raise ValueError("There are no arrays to draw from. Pass them behind the metric.")
    check_consistent_length(*given)
    draws = _draws(len(given[0]), groups, int(n_resamples), check_random_state(random_state))
    values = np.empty(n_resamples)
    for i, drawn in enumerate(draws):
        sample = [None if a is None else safe_indexing(a, drawn) for a in arrays]
        if sample_weight is not None:
            kwargs["sample_weight"] = safe_indexing(sample_weight, drawn)
        try:
            values[i] = metric(*sample, **kwargs)
        except ValueError as error:
            error.add_note(f"This was bootstrap sample {i + 1} of {n_resamples}.")
            raise
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _draws(n_samples: int, groups: Any, n_resamples: int, rng: Any) -> Iterator[np.ndarray]:
    """Iterate over the positions of the images of each bootstrap sample."""
    if groups is None:
        for _ in range(n_resamples):
            yield rng.randint(0, n_samples, n_samples)
        return
    codes = group_codes(groups)
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    starts = np.cumsum(sizes) - sizes
    for _ in range(n_resamples):
        drawn = rng.randint(0, len(sizes), len(sizes))
        counts = sizes[drawn]
        # Each drawn person's images are neighbours in `order`.
        offset = np.repeat(starts[drawn] - (np.cumsum(counts) - counts), counts)
        yield order[offset + np.arange(counts.sum())]
