"""CumulativeScoreDisplay: the share of images within k years."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ._axes import new_axes, note, plain_frame, style
from ._predictions import model_name, predict_ages, with_prediction


class CumulativeScoreDisplay:
    """Plot of the cumulative score CS(k), the share of images predicted within k years.

    Defined by Geng, Zhou and Smith-Miles, "Automatic Age Estimation Based on Facial Aging
    Patterns", TPAMI 2007. Draw several models on the same axes to compare them. Create it
    with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    thresholds : array-like of shape (n_thresholds,)
        The numbers of years k.
    scores : array-like of shape (n_thresholds,)
        The shares, from 0 to 1.
    name : str, default=None
        The model's name in the legend.
    n_missing : int, default=0
        Number of images that were left out, as they have no prediction.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure
    line_ : Line2D

    See Also
    --------
    skage.metrics.cumulative_score : The score of one k.

    Examples
    --------
    >>> from skage.displays import CumulativeScoreDisplay
    >>> display = CumulativeScoreDisplay.from_predictions([20, 30], [21, 33], max_years=4)
    >>> display.scores
    array([0. , 0.5, 0.5, 1. , 1. ])
    """

    def __init__(self, thresholds: Any, scores: Any, name: str | None = None, n_missing: int = 0):
        self.thresholds = thresholds
        self.scores = scores
        self.name = name
        self.n_missing = n_missing

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        max_years: int = 15,
        name: str | None = None,
        ax: Axes | None = None,
    ) -> CumulativeScoreDisplay:
        """Predict ages, and plot their cumulative score.

        Parameters
        ----------
        estimator : estimator of ages
            Fitted. It may be the last step of a Pipeline, or inside a search.
        X : sequence of n_samples images, or what the estimator accepts
        y : array-like of shape (n_samples,)
            True ages in years.
        max_years : int, default=15
            The largest k.
        name : str, default=None
            The model's name in the legend. None means its class.
        ax : Axes, default=None
            Where to draw, such as the `ax_` of another model's display. None creates a new
            figure.

        Returns
        -------
        display : CumulativeScoreDisplay

        Raises
        ------
        ValueError
            If X and y differ in length, a true age is not a finite number, no image has a
            prediction, or `max_years` is below 1.
        """
        name = model_name(estimator) if name is None else name
        y_pred = predict_ages(estimator, X)
        return cls.from_predictions(y, y_pred, max_years=max_years, name=name, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        max_years: int = 15,
        name: str | None = None,
        ax: Axes | None = None,
    ) -> CumulativeScoreDisplay:
        """Plot the cumulative score of given predictions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            In years.
        y_pred : array-like of shape (n_samples,)
            In years; images with NaN are left out, and the legend counts them.
        max_years : int, default=15
            The largest k.
        name : str, default=None
            The model's name in the legend.
        ax : Axes, default=None
            As in `from_estimator`.

        Returns
        -------
        display : CumulativeScoreDisplay

        Raises
        ------
        ValueError
            As `from_estimator`.
        """
        if max_years < 1:
            raise ValueError(f"max_years={max_years!r} is not valid. Pass at least 1.")
        predicted, (y_pred,) = with_prediction(y_true, y_pred)
        thresholds = np.arange(max_years + 1)
        sizes = np.sort(np.abs(y_pred - predicted.y_true))
        scores = np.searchsorted(sizes, thresholds, side="right") / len(sizes)
        return cls(thresholds, scores, name, predicted.n_missing).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> CumulativeScoreDisplay:
        """Draw the plot.

        Parameters
        ----------
        ax : Axes, default=None
            As in `from_estimator`.

        Returns
        -------
        display : CumulativeScoreDisplay
        """
        self.ax_ = ax = new_axes(size=(4.8, 3.6))[0] if ax is None else ax
        self.figure_ = ax.figure
        look = style(len(ax.lines))
        missing = f"{self.n_missing:,} without a prediction" if self.n_missing else ""
        label = f"{self.name} ({missing})" if self.name and missing else self.name
        scores = 100 * np.asarray(self.scores)
        self.line_ = ax.plot(self.thresholds, scores, ms=4, label=label, **look)[0]
        ax.set(xlabel="error of at most k years", ylabel="images (%)", title="Cumulative score")
        ax.set_ylim(0, 102)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(axis="y", lw=0.5, alpha=0.5)
        if self.name:
            ax.legend(frameon=False, loc="lower right", fontsize=8)
        else:
            note(ax, missing and f"left out: {missing}")
        plain_frame(ax)
        return self
