"""Percentile-bootstrap confidence intervals of means."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length

_N_RESAMPLES = 1000


def mean_interval(
    values: np.ndarray, persons: Any, confidence: float, random_state: Any
) -> np.ndarray:
    """Return lower and upper bounds of the means of columns, (2, n_columns).

    Persons are drawn with replacement, each with all its rows (Efron and Tibshirani, "An
    Introduction to the Bootstrap", 1993, chapter 13).
    """
    check_consistent_length(values, persons)
    codes = (
        np.arange(len(values)) if persons is None else np.unique(persons, return_inverse=True)[1]
    )
    sums = np.stack([np.bincount(codes, column) for column in values.T], axis=1)
    counts = np.bincount(codes)
    random = check_random_state(random_state)
    means = np.empty((_N_RESAMPLES, values.shape[1]))
    for i in range(_N_RESAMPLES):
        drawn = random.randint(0, len(counts), len(counts))
        means[i] = sums[drawn].sum(axis=0) / counts[drawn].sum()
    tail = (1 - confidence) / 2
    return np.quantile(means, [tail, 1 - tail], axis=0)
