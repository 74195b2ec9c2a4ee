"""What counts as a list of ages, and of weights."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np


def check_ages(ages: Any, name: str = "y") -> np.ndarray:
    """Ages as finite float64 (n,).

    Raises
    ------
    ValueError
        If they are of another shape, not numbers, NaN or infinite; the message
        names the first such value and its position.
    """
    array = np.asarray(ages)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{name} holds ages, shape (n_samples,) or (n_samples, 1); got shape {array.shape}. "
            "Reshape your data."
        )
    if len(array) == 0:
        raise ValueError(
            f"{name} holds 0 ages; at least one is needed (a minimum of 1 is required)."
        )
    if array.dtype.kind not in "fiub":
        for position, value in enumerate(array.tolist()):
            if not isinstance(value, Real):
                raise ValueError(
                    f"{name} must hold ages in years as numbers; {name}[{position}] is {value!r} "
                    f"({type(value).__name__}). Convert them, for example with "
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
