"""Which models can be calibrated, and on which of the images passed to fit."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._held_out import person_folds


def check_model(estimator: Any) -> None:
    """Check that a model predicts distributions, and is fitted if it is frozen.

    Raises
    ------
    ValueError
        If it does not predict distributions.
    NotFittedError
        If it is frozen and not fitted.
    """
    model = estimator
    if isinstance(estimator, FrozenEstimator):
        model = estimator.estimator
        check_is_fitted(model, msg="The model inside the FrozenEstimator is not fitted.")
    if isinstance(model, Pipeline):
        raise ValueError(
            "A Pipeline does not predict a distribution. Put its last step alone into the "
            "CalibratedAgeRegressor, and that into the Pipeline."
        )
    name = type(model).__name__
    if hasattr(model, "best_estimator_") or hasattr(model, "refit"):
        raise ValueError(
            f"A {name} does not predict a distribution. Put the CalibratedAgeRegressor into the "
            "search, or pass FrozenEstimator(search.best_estimator_)."
        )
    if not hasattr(model, "predict_dist"):
        raise ValueError(
            f"A {name} does not predict a distribution. Put it into a BinnedAgeRegressor."
        )


def split(
    cv: Any, X: Any, y: np.ndarray, persons: np.ndarray, has_groups: bool, random_state: Any
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the images to fit to and those to calibrate on, for each fold.

    Parameters
    ----------
    cv : int, cross-validation generator or iterable
        An int is a number of folds, at least 2.
    X : sequence of n_samples images
    y : ndarray of shape (n_samples,)
        Ages in years.
    persons : ndarray of shape (n_samples,), int
        As `persons_of` returns them.
    has_groups : bool
        Whether groups were given, which a splitter gets.
    random_state : int, RandomState instance or None

    Raises
    ------
    ValueError
        If there are fewer persons or images than folds, an image is held out twice, or a
        person is on both sides of a fold.
    """
    if isinstance(cv, Integral):
        what = f"Holding out images for the calibration in {max(cv, 2)} folds"
        return list(person_folds(int(cv), y, persons, random_state, what, "Pass more images."))
    folds = list(check_cv(cv, y).split(X, y, persons if has_groups else None))
    for train, test in folds:
        both = np.isin(persons[test], persons[train])
        if both.any():
            raise ValueError(
                f"cv fits to and calibrates on images of one person, or identical images: image "
                f"{int(np.asarray(test)[both.argmax()])} and another one. Pass the number of "
                "folds, or a splitter that keeps groups together, and groups."
            )
    times = np.bincount(np.concatenate([test for _, test in folds]), minlength=len(y))
    if times.max() > 1:
        raise ValueError(
            f"cv holds out the image {int(times.argmax())} {times.max()} times, and at most once "
            "is allowed. Pass the number of folds, or folds that do not overlap."
        )
    return folds
