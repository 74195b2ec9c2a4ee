"""PredictedAgeDisplay: predicted against true age."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from ._axes import BLACK, BLUE, ORANGE, missing_note, new_axes, note, plain_frame
from ._predictions import predict_ages, with_prediction

_MAX_POINTS = 3000  # more are shown as their density
_LEVELS = (0.1, 0.5, 0.9)  # quantiles of the predicted ages
_HALF_WINDOW, _MIN_IMAGES = 2.5, 10  # years on each side of an age, and images, of a quantile


class PredictedAgeDisplay:
    """Plot of predicted against true age.

    Each point is an image; more than 3,000 are shown as their density. The median and the
    band between the 10th and 90th percentile of the predicted ages are those of images
    whose true age is within 2.5 years, where these are at least ten. Create it with
    `from_estimator` or `from_predictions`.

    Parameters
    ----------
    y_true, y_pred : ndarray of shape (n_samples,)
        In years.
    n_missing : int, default=0
        Number of images that were left out, as they have no prediction.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    Examples
    --------
    >>> from skage.displays import PredictedAgeDisplay
    >>> display = PredictedAgeDisplay.from_predictions([20, 30, 40], [24, 31, 38])
    >>> display.ax_.get_xlabel()
    'true age (years)'
    """

    def __init__(self, y_true: np.ndarray, y_pred: np.ndarray, n_missing: int = 0):
        self.y_true = y_true
        self.y_pred = y_pred
        self.n_missing = n_missing

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, ax: Axes | None = None
    ) -> PredictedAgeDisplay:
        """Predict ages, and plot them against the true ones.

        Parameters
        ----------
        estimator : estimator of ages
            Fitted. It may be the last step of a Pipeline, or inside a search.
        X : sequence of n_samples images, or what the estimator accepts
        y : array-like of shape (n_samples,)
            True ages in years.
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : PredictedAgeDisplay

        Raises
        ------
        ValueError
            If X and y differ in length, a true age is not a finite number, or no image has
            a prediction.
        """
        return cls.from_predictions(y, predict_ages(estimator, X), ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true: Any, y_pred: Any, *, ax: Axes | None = None
    ) -> PredictedAgeDisplay:
        """Plot given predictions against the true ages.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            In years.
        y_pred : array-like of shape (n_samples,)
            In years; images with NaN are left out, and a note counts them.
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : PredictedAgeDisplay

        Raises
        ------
        ValueError
            As `from_estimator`.
        """
        predicted, (y_pred,) = with_prediction(y_true, y_pred)
        return cls(predicted.y_true, y_pred, predicted.n_missing).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> PredictedAgeDisplay:
        """Draw the plot.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : PredictedAgeDisplay
        """
        self.ax_ = ax = new_axes(size=(4.6, 4.4))[0] if ax is None else ax
        self.figure_ = ax.figure
        both = np.concatenate([self.y_true, self.y_pred])
        low, high = np.floor(both.min()) - 1, np.ceil(both.max()) + 1
        self._draw_images(ax, (low, high))
        ax.axline((low, low), slope=1, color=BLACK, lw=1, ls=":", label="predicted = true")
        ages, quantiles = _running_quantiles(self.y_true, self.y_pred)
        lower, median, upper = quantiles.T
        outline = [withStroke(linewidth=3.5, foreground="white")]
        ax.plot(ages, median, color=ORANGE, lw=2, label="median", path_effects=outline)
        for bound, label in ((lower, "10th and 90th percentile"), (upper, None)):
            ax.plot(ages, bound, color=ORANGE, lw=1.2, ls="--", label=label)
        n = len(self.y_true)
        ax.set(xlabel="true age (years)", ylabel="predicted age (years)")
        ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        ax.set_title(f"{n:,} image{'s' * (n > 1)}")
        ax.legend(loc="upper left", fontsize=8, framealpha=0.85, edgecolor="none")
        note(ax, missing_note(self.n_missing, n + self.n_missing))
        plain_frame(ax)
        return self

    def _draw_images(self, ax: Axes, limits: tuple[float, float]) -> None:
        if len(self.y_true) <= _MAX_POINTS:
            alpha = 0.6 if len(self.y_true) < 300 else 0.3
            ax.scatter(self.y_true, self.y_pred, s=9, color=BLUE, alpha=alpha, lw=0)
            return
        cells = ax.hexbin(
            self.y_true,
            self.y_pred,
            gridsize=max(int((limits[1] - limits[0]) / 2), 10),  # of two years
            extent=(*limits, *limits),
            bins="log",
            mincnt=1,
            cmap="Blues",
            lw=0.1,
        )
        ax.figure.colorbar(cells, ax=ax, label="images", shrink=0.7, format="%g")


def _running_quantiles(y_true: np.ndarray, y_pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whole ages, and quantiles of the predictions around them; NaN if images are few."""
    order = np.argsort(y_true)
    y_true, y_pred = y_true[order], y_pred[order]
    ages = np.arange(np.floor(y_true[0]), np.ceil(y_true[-1]) + 1)
    first = np.searchsorted(y_true, ages - _HALF_WINDOW, side="left")
    last = np.searchsorted(y_true, ages + _HALF_WINDOW, side="right")
    quantiles = np.full((len(ages), len(_LEVELS)), np.nan)
    for i, (start, end) in enumerate(zip(first, last, strict=True)):
        if end - start >= _MIN_IMAGES:
            quantiles[i] = np.quantile(y_pred[start:end], _LEVELS)
    return ages, quantiles
