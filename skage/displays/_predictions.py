"""Predictions for a plot, without the images that have none, and their bands of age."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length

from .._checks import check_ages
from .._unwrap import unreadable_images_skipped, unwrap


def predict(estimator: Any, X: Any, what: Callable[[Any, Any], Any]) -> Any:
    """Return what(model, images), with NaN for images that cannot be read.

    The model is the fitted one inside pipelines and searches, which gets the images as the
    steps before it return them.
    """
    model, X = unwrap(estimator, X)
    with unreadable_images_skipped(model):  # the plot says how many
        return what(model, X)


def predict_ages(estimator: Any, X: Any) -> np.ndarray:
    """Predict ages in years, NaN for images that cannot be read."""
    return np.asarray(predict(estimator, X, lambda model, X: model.predict(X)), dtype=float)


def model_name(estimator: Any) -> str:
    """Return the name of the fitted model's class, for legends."""
    return type(unwrap(estimator)[0]).__name__


@dataclass(frozen=True)
class Predicted:
    """The images that have a prediction.

    Parameters
    ----------
    mask : ndarray of shape (n_images,), bool
        Which of all images these are.
    y_true : ndarray of shape (n_samples,)
        Their true ages in years.
    """

    mask: np.ndarray
    y_true: np.ndarray

    @property
    def n_missing(self) -> int:
        """The number of images without a prediction."""
        return int((~self.mask).sum())


def with_prediction(y_true: Any, *predictions: Any) -> tuple[Predicted, list[np.ndarray]]:
    """Return the images that have a prediction, and their predictions as float arrays.

    Raises
    ------
    ValueError
        If lengths differ, a true age is not finite, or no image has a prediction.
    """
    y_true = check_ages(y_true, "y_true")
    arrays = [np.asarray(values, dtype=np.float64) for values in predictions]
    check_consistent_length(y_true, *arrays)
    mask = np.ones(len(y_true), dtype=bool)
    for values in arrays:
        mask &= ~np.isnan(values.reshape(len(values), -1)).any(axis=1)
    if not mask.any():
        raise ValueError(
            f"None of the {len(mask)} images has a prediction, so there is nothing to plot. Check "
            "that they can be read and show a face."
        )
    return Predicted(mask, y_true[mask]), [values[mask] for values in arrays]


@dataclass(frozen=True)
class Bands:
    """Bands of age of equal width.

    Parameters
    ----------
    starts : ndarray of shape (n_bands,)
        The youngest age of each band in years. Bands without images are left out.
    width : float
        In years.
    codes : ndarray of shape (n_samples,), int
        The band of each image.
    """

    starts: np.ndarray
    width: float
    codes: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """The number of images in each band."""
        return np.bincount(self.codes, minlength=len(self.starts))

    @property
    def labels(self) -> list[str]:
        """The band's ages, as in "20-29", and below them its number of images."""
        whole = self.width == int(self.width)
        last = self.width - 1 if whole else self.width
        names = [
            f"{start:g}" if last == 0 else f"{start:g}\N{EN DASH}{start + last:g}"
            for start in self.starts
        ]
        return [f"{name}\n{n:,}" for name, n in zip(names, self.counts, strict=True)]


def age_bands(ages: np.ndarray, width: float) -> Bands:
    """Return the bands of `width` years that have images.

    Raises
    ------
    ValueError
        If `width` is not above 0.
    """
    if not width > 0:
        raise ValueError(f"width={width!r} must be above 0. Pass a number of years, such as 10.")
    found, codes = np.unique(np.floor(ages / width), return_inverse=True)
    return Bands(found * width, width, codes)
