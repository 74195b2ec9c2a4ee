"""What is evaluated: the predictions of a model, of arrays, or of another tool's CSV."""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from .._unwrap import unreadable_images_skipped, unwrap
from ..binning import AgeBinner
from ._csv import listed, numbers_of, read_predictions


@dataclass(frozen=True)
class Predictions:
    """Predicted ages of images.

    Parameters
    ----------
    name : str
        What predicted them.
    ages : ndarray of shape (n_samples,)
        In years; NaN for images without a prediction.
    interval : ndarray of shape (n_samples, 2), default=None
        Lower and upper bounds in years.
    distribution : ndarray of shape (n_samples, n_bins), default=None
        Over the bins of `binner`.
    binner : AgeBinner, default=None
    """

    name: str
    ages: np.ndarray
    interval: np.ndarray | None = None
    distribution: np.ndarray | None = None
    binner: AgeBinner | None = None

    @property
    def has_age(self) -> np.ndarray:
        return np.isfinite(self.ages)


def as_predictions(given: Any, X: Any, n_samples: int, coverage: float) -> Predictions:
    """Return the predictions of a model, array, table or CSV, one for each image.

    Raises
    ------
    TypeError
        If `given` is of another kind, or a model that does not predict ages.
    ValueError
        If there is not one prediction for each image, an age is infinite, or images are
        needed and missing.
    """
    if hasattr(given, "predict") or hasattr(given, "fit"):
        return _of_model(given, X, coverage)
    if isinstance(given, str | os.PathLike):
        if os.fsdecode(given).endswith(".skage"):
            raise ValueError(f"{os.fsdecode(given)!r} is a model file. Pass skage.load of it.")
        given = read_predictions(given, X)
    if isinstance(given, pd.DataFrame):
        return _of_table(given, n_samples)
    ages = np.asarray(given)
    if ages.dtype == object:
        missing = pd.isna(ages)
        if all(isinstance(age, Real) for age in ages[~missing].tolist()):
            ages = np.where(missing, np.nan, ages).astype(float)
    if ages.dtype.kind not in "fiu":
        raise TypeError(
            f"Cannot evaluate a {type(given).__name__}. Pass a fitted model, an array of predicted "
            "ages in years (NaN where there is no prediction), a DataFrame with the column age, or "
            "the path of a CSV."
        )
    return Predictions("given ages", _check(ages.astype(float), n_samples))


def _of_model(model: Any, X: Any, coverage: float) -> Predictions:
    if X is None:
        raise ValueError("A model needs the images to predict. Pass them as X.")
    with unreadable_images_skipped(model):
        inner, images = unwrap(model, X)
        name = type(inner).__name__
        if not hasattr(inner, "predict_dist"):
            ages = np.asarray(inner.predict(images))
            if ages.dtype.kind not in "fiu":
                raise TypeError(
                    f"{name} predicts, for example, {ages.flat[0]!s}, which is not an age. Pass a "
                    "model that predicts ages in years."
                )
            return Predictions(name, _check(ages.astype(float), len(X)))
        distribution = np.asarray(inner.predict_dist(images))
    return Predictions(
        name,
        _check(inner.decode_dist(distribution).astype(float), len(X)),
        inner.decode_interval(distribution, coverage).astype(float),
        distribution,
        inner.binner_,
    )


def _of_table(table: pd.DataFrame, n_samples: int) -> Predictions:
    if "age" not in table:
        raise ValueError(
            f"The table of predictions has no column 'age'; it has {listed(table.columns)}. "
            "Rename the column of predicted ages."
        )
    bounds = [name for name in ("low", "high") if name in table]
    if len(bounds) == 1:
        raise ValueError(
            f"The table of predictions has the column {bounds[0]!r} alone. An interval needs both "
            "low and high."
        )
    ages = _check(numbers_of(table["age"], "age"), n_samples)
    interval = None
    if bounds:
        interval = np.column_stack([numbers_of(table[name], name) for name in bounds])
        wrong = np.isfinite(ages) & ~(interval[:, 0] <= interval[:, 1])
        if wrong.any():
            first = int(np.argmax(wrong))
            raise ValueError(
                f"Row {first} of the predictions has the age {ages[first]:g} and the interval "
                f"{interval[first].tolist()}. Pass bounds with low <= high for each age."
            )
    name = table.attrs.get("name", "given table")
    return Predictions(name, ages, interval)


def _check(ages: np.ndarray, n_samples: int) -> np.ndarray:
    if ages.shape == (n_samples, 1):
        ages = ages[:, 0]
    if ages.shape != (n_samples,):
        raise ValueError(
            f"There are predictions of shape {ages.shape} for {n_samples} images. Pass one age for "
            "each image, NaN where there is no prediction."
        )
    if np.isinf(ages).any():
        first = int(np.argmax(np.isinf(ages)))
        raise ValueError(
            f"The predicted age of image {first} is {ages[first]}. Pass NaN for an image without a "
            "prediction."
        )
    if not np.isfinite(ages).any():
        raise ValueError(f"None of the {n_samples} images has a prediction.")
    return ages
