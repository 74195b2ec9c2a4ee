"""Exact bounds of shares, and means of rates over cells of images."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import betaincinv
from sklearn.utils.validation import check_consistent_length

from ._checks import check_between


def binomial_interval(k: Any, n: Any, confidence: float = 0.95) -> tuple[Any, Any]:
    """Compute exact confidence intervals of shares (Clopper and Pearson, Biometrika 1934).

    The interval contains the true share with at least the probability `confidence`, also
    where none or all of n are counted. It holds for independent trials: several images of
    one person are not.

    Parameters
    ----------
    k : int or array-like of int
        How many were counted.
    n : int or array-like of int
        Out of how many.
    confidence : float, default=0.95
        Above 0 and below 1; the same probability is left out on both sides.

    Returns
    -------
    low, high : float or ndarray
        Bounds of the share, from 0 to 1. Nothing is known of 0 out of 0: (0, 1).

    Raises
    ------
    ValueError
        If a `k` or `n` is not a whole number, `k` is not between 0 and `n`, or `confidence`
        is not between 0 and 1.

    Examples
    --------
    >>> from skage.metrics import binomial_interval
    >>> low, high = binomial_interval([0, 3, 0], [100, 100, 0])
    >>> low.round(4)
    array([0.    , 0.0062, 0.    ])
    >>> high.round(4)
    array([0.0362, 0.0852, 1.    ])
    """
    k, n = _check_counts(k, n)
    tail = (1 - check_between(confidence, "confidence", 0.95)) / 2
    return _quantile(k, n - k + 1, tail, k == 0, 0.0), upper_bound(k, n, 1 - tail)


def upper_bound(k: Any, n: Any, confidence: float) -> Any:
    """Return the one-sided exact upper bound of a share, at the level `confidence`."""
    k, n = np.asarray(k), np.asarray(n)
    return _quantile(k + 1, n - k, confidence, k == n, 1.0)


def _quantile(a, b, level, is_end, end):
    """Quantile of Beta(a, b), or `end` where the counts leave no beta distribution."""
    found = betaincinv(np.where(is_end, 1, a), np.where(is_end, 1, b), level)
    found = np.where(is_end, end, found)
    return float(found) if found.ndim == 0 else found


def _check_counts(k, n):
    k, n = np.broadcast_arrays(np.asarray(k), np.asarray(n))
    for name, counts in (("k", k), ("n", n)):
        if counts.dtype.kind not in "fiub" or not (counts == np.floor(counts)).all():
            raise ValueError(f"{name}={counts!r} must be whole numbers. Pass counts, not shares.")
    wrong = (k < 0) | (k > n)
    if wrong.any():
        first = int(np.argmax(wrong.ravel()))
        raise ValueError(
            f"k={k.ravel()[first]:g} of n={n.ravel()[first]:g} is not possible: k must lie "
            "between 0 and n."
        )
    return k.astype(np.float64), n.astype(np.float64)


def cells(**labels: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Iterate over the name and the mask of each combination of labels.

    Parameters
    ----------
    **labels : (array of shape (n_samples,), sequence)
        By name: the label of each sample, and the labels to combine.

    Raises
    ------
    ValueError
        If a combination has no sample.
    """
    for combination in product(*(wanted for _, wanted in labels.values())):
        pairs = list(zip(labels, combination, strict=True))
        name = " and ".join(f"{key} {value}" for key, value in pairs)
        mask = np.logical_and.reduce([labels[key][0] == value for key, value in pairs])
        if not mask.any():
            raise ValueError(
                f"No image has {name}, so that the mean over all cells is not defined. Add such "
                "images, or choose cells that all have some."
            )
        yield name, mask


def check_labels(labels: Any, name: str, y_true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels as an array of objects, and the distinct ones; refuse missing ones."""
    labels = np.asarray(labels, dtype=object)
    check_consistent_length(y_true, labels)
    if labels.ndim != 1:
        raise ValueError(f"{name} must have the shape (n_samples,); got shape {labels.shape}.")
    missing = pd.isna(labels)
    if missing.any():
        raise ValueError(
            f"{name}[{int(np.argmax(missing))}] is missing. Leave out images without {name}, or "
            "give them a label."
        )
    return labels, pd.unique(labels)


def check_sexes(sex: Any, y_true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sexes as an array of objects, and the two of them."""
    labels, distinct = check_labels(sex, "sex", y_true)
    if len(distinct) != 2:
        raise ValueError(
            f"sex has {len(distinct)} distinct labels, {distinct.tolist()}, but NIST's figures "
            "are means over two sexes. Leave out images of any other label."
        )
    return labels, distinct
