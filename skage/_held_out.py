"""Images that estimators hold out in their fit: folds, the fit to the others, what was seen."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from ._groups import group_codes, groups_parameter, joined_copies
from ._images.reading import are_among, check_images, content_digests
from ._sklearn import BaseSearchCV, num_samples, safe_indexing
from ._unwrap import image_classifiers, image_classifiers_with
from .splits import AgeStratifiedGroupKFold


def persons_of(estimator: Any, X: Any, groups: Any) -> np.ndarray:
    """Return the persons of samples, in which identical images are one person.

    Parameters
    ----------
    estimator : estimator
        What is fitted.
    X : sequence of n_samples images, or what the estimator accepts
    groups : array-like of shape (n_samples,) or None
        Persons; None takes each sample for another one.

    Returns
    -------
    persons : ndarray of shape (n_samples,), int

    Raises
    ------
    ValueError
        If a group is missing.
    """
    persons = group_codes(groups, num_samples(X))
    if not _takes_images(estimator):
        return persons
    try:
        digests = content_digests(check_images(X))
    except (TypeError, ValueError):  # a Pipeline may make images of something else
        return persons
    return joined_copies(persons, digests)


def _takes_images(estimator: Any) -> bool:
    """Whether an estimator is of images, as its tags or those inside it say."""
    if isinstance(estimator, FrozenEstimator | BaseSearchCV):
        return _takes_images(estimator.estimator)
    if isinstance(estimator, Pipeline):
        return any(_takes_images(step) for _, step in estimator.steps if hasattr(step, "fit"))
    tags = get_tags(estimator).input_tags
    return tags.string and tags.three_d_array  # as `image_tags` sets them


def person_folds(
    n_splits: int, y: np.ndarray, persons: np.ndarray, random_state: Any, what: str, advice: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shuffled folds for an estimator that holds images out in its fit.

    Parameters
    ----------
    n_splits : int
        At least 2 are made.
    y : ndarray of shape (n_samples,)
        Ages in years.
    persons : ndarray of shape (n_samples,)
        As `persons_of` returns them.
    random_state : int, RandomState instance or None
    what, advice : str
        The beginning and the end of the error message.

    Raises
    ------
    ValueError
        If there are fewer persons or images than folds.
    """
    n_splits = max(n_splits, 2)
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
    if groups is not None and (name := groups_parameter(estimator)):
        options[name] = np.asarray(groups)
    if rows is not None:
        X, y = safe_indexing(X, rows), y[rows]
        options = {name: values[rows] for name, values in options.items()}
    return clone(estimator).fit(X, y, **options)


def trained_on(model: Any, X: Any) -> np.ndarray | None:
    """Which images a fitted model was trained on, as far as it knows; None if it does not.

    Classifiers of images keep digests of the images that they were fitted to.
    """
    seen: np.ndarray | None = None
    if not any(len(classifier.digests_) for classifier in image_classifiers(model)):
        return seen
    for classifier, received in image_classifiers_with(model, X):
        known = {row.tobytes() for row in classifier.digests_}
        if known:
            found = are_among(check_images(received), known)
            seen = found if seen is None else seen | found
    return seen


def warn_if_trained_on(model: Any, X: Any, what_for: str, *, stacklevel: int) -> None:
    """Warn of images that a fitted model is to be measured on and was trained on.

    Parameters
    ----------
    model : estimator
    X : sequence of images, or what the model accepts
    what_for : str
        What the images are held out for, behind "images".
    stacklevel : int
        1 names this function as the place of the warning, 2 its caller.
    """
    seen = trained_on(model, X)
    if seen is not None and seen.any():
        warnings.warn(
            f"The model was trained on {seen.sum():,} of the {len(seen):,} images {what_for}, or "
            "on identical ones. Its errors on them are smaller than on new images. Pass others.",
            stacklevel=stacklevel,
        )
