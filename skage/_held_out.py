"""For estimators that hold images out in their fit: the folds, and the fit to the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

from ._sklearn import safe_indexing
from .splits import AgeStratifiedGroupKFold


def person_folds(
    n_splits: int, y: np.ndarray, groups: Any, random_state: Any, what: str, advice: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shuffled folds for an estimator that holds images out in its fit.

    Parameters
    ----------
    n_splits : int
        At least 2 are made.
    y : ndarray of shape (n_samples,)
        Ages in years.
    groups : array-like of shape (n_samples,) or None
        Persons; None takes each image for another person.
    random_state : int, RandomState instance or None
    what, advice : str
        The beginning and the end of the error message.

    Raises
    ------
    ValueError
        If there are fewer persons or images than folds.
    """
    n_splits = max(n_splits, 2)
    persons = np.arange(len(y)) if groups is None else np.asarray(groups)
    n_persons = len(np.unique(persons))
    if n_persons < n_splits:
        raise ValueError(
            f"{what} takes at least {n_splits} persons or images; got {n_persons} "
            f"(n_samples={len(y)}). {advice}"
        )
    splitter = AgeStratifiedGroupKFold(n_splits, shuffle=True, random_state=random_state)
    return splitter.split(y, y, persons)


def fit_rows(
    estimator: Any,
    X: Any,
    y: np.ndarray,
    rows: np.ndarray | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> Any:
    """Return a clone that is fitted to samples, with their groups if its fit takes them.

    Parameters
    ----------
    estimator : estimator
    X : sequence of n_samples images, or what the estimator accepts
    y : ndarray of shape (n_samples,)
    rows : ndarray of int, default=None
        Positions of the samples to fit to; None takes all.
    sample_weight, groups : array-like of shape (n_samples,), default=None
    """
    options = {}
    if sample_weight is not None:
        options["sample_weight"] = np.asarray(sample_weight)
    if groups is not None and has_fit_parameter(estimator, "groups"):
        options["groups"] = np.asarray(groups)
    if rows is not None:
        X, y = safe_indexing(X, rows), y[rows]
        options = {name: values[rows] for name, values in options.items()}
    return clone(estimator).fit(X, y, **options)
