"""Validation of ages and sample weights."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from ._sklearn import check_sample_weight

OLDEST = 120  # years; hardly anyone has lived longer


def check_ages(ages: Any, name: str = "y") -> np.ndarray:
    """Return ages as a float64 array of shape (n,), after checking that they are finite.

    Raises
    ------
    ValueError
        If they have another shape, are not numbers, or are NaN or infinite. The message
        names the first such value and its position.
    """
    array = np.asarray(ages)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{name} must be an array of ages of shape (n_samples,) or (n_samples, 1); got shape "
            f"{array.shape}. Reshape your data."
        )
    if len(array) == 0:
        raise ValueError(f"{name} has 0 ages, while a minimum of 1 is required.")
    if array.dtype.kind not in "fiub":
        for position, value in enumerate(array.tolist()):
            if not isinstance(value, Real):
                raise ValueError(
                    f"{name} must contain ages in years as numbers; {name}[{position}] is "
                    f"{value!r} ({type(value).__name__}). Convert them, for example with "
                    "numpy.asarray(ages, dtype=float)."
                )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        first = int(np.argmin(np.isfinite(array)))
        kind = "NaN" if np.isnan(array[first]) else "infinity"
        raise ValueError(
            f"Input {name} contains {kind}: {name}[{first}] is {array[first]}. Drop samples "
            "without an age."
        )
    return array


def check_weights(sample_weight: Any, n_samples: int) -> np.ndarray:
    """Return weights as a float64 array of shape (n_samples,), scaled to a maximum of 1.

    Only their proportions matter, and those would be lost in sums of very small or very
    large numbers. None gives equal weights.

    Raises
    ------
    ValueError
        If a weight is negative, NaN or infinite, all are zero, or their number is not
        `n_samples`.
    """
    given = np.asarray(sample_weight)
    if given.dtype.kind in "fiub" and given.size and not given.any():
        raise ValueError(
            "All sample weights are zero, so there is nothing to learn from. Pass at least one "
            "weight above 0."
        )
    weight = check_sample_weight(
        sample_weight, np.empty(n_samples), dtype=np.float64, ensure_non_negative=True
    )
    with np.errstate(under="ignore"):
        return weight / weight.max()
