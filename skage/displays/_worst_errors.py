"""WorstErrorsDisplay: the images whose ages are predicted worst."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._images.reading import check_images
from .._unwrap import unwrap
from ._axes import missing_note
from ._predictions import predict_ages, with_prediction
from ._tiles import age_title, checked, draw, face_axes, tiles


class WorstErrorsDisplay:
    """Plot of the images whose ages are predicted worst, the largest error first.

    Each title has the error, the predicted age and the true age. Look for wrong labels and
    crops first. Create it with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    images : sequence of n images
        Paths, PIL images or arrays.
    y_true, y_pred : array-like of shape (n,)
        In years.
    positions : array-like of shape (n,), int
        Their positions among all images.
    n_images : int
        Number of all images.
    n_missing : int, default=0
        Number of those that were left out, as they have no prediction.

    Attributes
    ----------
    axes_ : ndarray of Axes
    figure_ : Figure
    """

    def __init__(
        self,
        images: Any,
        y_true: Any,
        y_pred: Any,
        positions: Any,
        n_images: int,
        n_missing: int = 0,
    ):
        self.images = images
        self.y_true = y_true
        self.y_pred = y_pred
        self.positions = positions
        self.n_images = n_images
        self.n_missing = n_missing

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, max_faces: int = 12, axes: Any = None
    ) -> WorstErrorsDisplay:
        """Predict all images, and show those with the largest errors.

        For a Pipeline, the images are shown as its last step sees them.

        Parameters
        ----------
        estimator : BinnedAgeRegressor, or another estimator of ages from images
            Fitted. It may be the last step of a Pipeline, or inside a search.
        X : sequence of n_samples images
        y : array-like of shape (n_samples,)
            True ages in years.
        max_faces : int, default=12
            Number of images to show.
        axes : sequence of Axes, default=None
            Each shows one face, and `max_faces` is ignored. None creates a new figure.

        Returns
        -------
        display : WorstErrorsDisplay

        Raises
        ------
        ValueError
            If X and y differ in length, no image has a prediction, or `max_faces` is
            below 1.
        """
        model, shown = unwrap(estimator, check_images(X))
        y_pred = predict_ages(model, shown)
        return cls.from_predictions(shown, y, y_pred, max_faces=max_faces, axes=axes)

    @classmethod
    def from_predictions(
        cls, X: Any, y_true: Any, y_pred: Any, *, max_faces: int = 12, axes: Any = None
    ) -> WorstErrorsDisplay:
        """Show the images with the largest errors of given predictions.

        Parameters
        ----------
        X : sequence of n_samples images
        y_true : array-like of shape (n_samples,)
            In years.
        y_pred : array-like of shape (n_samples,)
            In years; images with NaN have no error and are left out.
        max_faces : int, default=12
            As in `from_estimator`.
        axes : sequence of Axes, default=None
            As in `from_estimator`.

        Returns
        -------
        display : WorstErrorsDisplay

        Raises
        ------
        ValueError
            As `from_estimator`.
        """
        images, (y_true, y_pred) = checked(X, max_faces, y_true=y_true, y_pred=y_pred)
        predicted, (y_pred,) = with_prediction(y_true, y_pred)
        n_shown = max_faces if axes is None else np.size(axes)
        worst = np.argsort(-np.abs(y_pred - predicted.y_true), kind="stable")[:n_shown]
        positions = np.flatnonzero(predicted.mask)[worst]
        shown = [images[i] for i in positions]
        ages = predicted.y_true[worst], y_pred[worst]
        display = cls(shown, *ages, positions, len(images), predicted.n_missing)
        return display.plot(axes=axes)

    def plot(self, *, axes: Any = None) -> WorstErrorsDisplay:
        """Draw the plot.

        Parameters
        ----------
        axes : sequence of Axes, default=None
            At least as many Axes as images. None creates a new figure.

        Returns
        -------
        display : WorstErrorsDisplay
        """
        y_true, y_pred = np.asarray(self.y_true), np.asarray(self.y_pred)
        if axes is None:
            axes = face_axes(len(y_true))
            title = f"The {len(y_true)} largest errors of {self.n_images:,} images (years)"
            lines = [title, missing_note(self.n_missing, self.n_images)]
            axes[0].figure.suptitle("\n".join(filter(None, lines)), fontsize=10)
        self.axes_ = np.ravel(axes)
        self.figure_ = self.axes_[0].figure
        titles = [
            f"{p - t:+.0f}:  {age_title(p, t)}".replace("-", "\N{MINUS SIGN}")
            for p, t in zip(y_pred, y_true, strict=True)
        ]
        draw(self.axes_, tiles(self.images), titles)
        return self
