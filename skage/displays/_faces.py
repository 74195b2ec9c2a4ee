"""FacesDisplay: images with their predicted, and possibly true, ages."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._unwrap import unwrap
from ._tiles import Tile, age_title, checked, draw, face_axes, tiles


class FacesDisplay:
    """Plot of faces with their predicted, and possibly true, ages.

    Images without a prediction are marked as such. An image that cannot be read is shown
    as a grey tile with the reason. Create it with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    images : sequence of n images
        Paths, PIL images or arrays.
    y_pred : array-like of shape (n,)
        In years; NaN for images without a prediction.
    y_true : array-like of shape (n,), default=None
        In years; NaN where unknown.
    n_images : int, default=None
        Total number of images, shown as the title if only some of them are displayed.

    Attributes
    ----------
    axes_ : ndarray of Axes
    figure_ : Figure
    """

    def __init__(self, images: Any, y_pred: Any, y_true: Any = None, n_images: int | None = None):
        self.images = images
        self.y_pred = y_pred
        self.y_true = y_true
        self.n_images = n_images

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any = None, *, max_faces: int = 24, axes: Any = None
    ) -> FacesDisplay:
        """Show images with their predicted ages.

        For a Pipeline, the images are shown as its last step sees them: with a
        `FaceCropper` before it, the crops. Only the images shown are predicted.

        Parameters
        ----------
        estimator : BinnedAgeRegressor, or another estimator of ages from images
            Fitted. It may be the last step of a Pipeline, or inside a search.
        X : sequence of n_samples images
        y : array-like of shape (n_samples,), default=None
            True ages in years.
        max_faces : int, default=24
            Show only the first `max_faces` images. The title then states how many there
            are.
        axes : sequence of Axes, default=None
            Each shows one face, and `max_faces` is ignored. None creates a new figure.

        Returns
        -------
        display : FacesDisplay

        Raises
        ------
        ValueError
            If X and y differ in length, or `max_faces` is below 1.
        """
        images, (y,) = checked(X, max_faces, y=y)
        n_shown = max_faces if axes is None else np.size(axes)
        model, shown = unwrap(estimator, images[:n_shown])
        drawn = tiles(shown)
        positions = [i for i, tile in enumerate(drawn) if not isinstance(tile, str)]
        y_pred = np.full(len(drawn), np.nan)
        if positions:
            y_pred[positions] = model.predict([shown[i] for i in positions])
        y = None if y is None else y[:n_shown]
        return cls(shown, y_pred, y, len(images))._draw(drawn, axes)

    @classmethod
    def from_predictions(
        cls, X: Any, y_pred: Any, y_true: Any = None, *, max_faces: int = 24, axes: Any = None
    ) -> FacesDisplay:
        """Show images with given predictions.

        Parameters
        ----------
        X : sequence of n_samples images
        y_pred : array-like of shape (n_samples,)
            In years; NaN for images without a prediction.
        y_true : array-like of shape (n_samples,), default=None
            In years; NaN where unknown.
        max_faces : int, default=24
            As in `from_estimator`.
        axes : sequence of Axes, default=None
            As in `from_estimator`.

        Returns
        -------
        display : FacesDisplay

        Raises
        ------
        ValueError
            If the lengths differ, or `max_faces` is below 1.
        """
        images, (y_pred, y_true) = checked(X, max_faces, y_pred=y_pred, y_true=y_true)
        n_shown = max_faces if axes is None else np.size(axes)
        y_true = None if y_true is None else y_true[:n_shown]
        return cls(images[:n_shown], y_pred[:n_shown], y_true, len(images)).plot(axes=axes)

    def plot(self, *, axes: Any = None) -> FacesDisplay:
        """Draw the plot.

        Parameters
        ----------
        axes : sequence of Axes, default=None
            At least as many Axes as images. None creates a new figure.

        Returns
        -------
        display : FacesDisplay
        """
        return self._draw(tiles(self.images), axes)

    def _draw(self, drawn: list[Tile], axes: Any) -> FacesDisplay:
        if axes is None:
            axes = face_axes(len(drawn))
            if self.n_images is not None and self.n_images > len(drawn):
                title = f"{len(drawn)} of {self.n_images:,} images"
                axes[0].figure.suptitle(title, fontsize=10)
        y_pred = np.asarray(self.y_pred)
        y_true = np.full(len(drawn), np.nan) if self.y_true is None else np.asarray(self.y_true)
        self.axes_ = np.ravel(axes)
        self.figure_ = self.axes_[0].figure
        draw(self.axes_, drawn, list(map(age_title, y_pred, y_true)))
        return self
