"""ErrorByAgeDisplay: mean absolute error and bias by band of true age."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from sklearn.utils.validation import check_consistent_length

from ..metrics import bootstrap_interval
from ._axes import BLUE, GREY, ORANGE, missing_note, new_axes, note, plain_frame
from ._predictions import age_bands, predict_ages, with_prediction


class ErrorByAgeDisplay:
    """Plot of the mean absolute error (MAE) and the bias by band of true age.

    The bias is the mean of predicted minus true age: above 0, people look older to the
    model than they are. Bars are percentile-bootstrap confidence intervals. Create it with
    `from_estimator` or `from_predictions`.

    Parameters
    ----------
    labels : sequence of n_bands str
        Names of the bands, below the axis.
    mae, bias : array-like of shape (n_bands,)
        In years.
    mae_interval, bias_interval : array-like of shape (n_bands, 2), default=None
        Their confidence intervals, drawn if given.
    caption : str, default=""
        Written below the plot.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    Examples
    --------
    >>> from skage.displays import ErrorByAgeDisplay
    >>> display = ErrorByAgeDisplay.from_predictions([21, 28, 35, 36], [24, 27, 30, 33])
    >>> display.mae, display.bias
    (array([2., 4.]), array([ 1., -4.]))
    """

    def __init__(
        self,
        labels: Any,
        mae: Any,
        bias: Any,
        *,
        mae_interval: Any = None,
        bias_interval: Any = None,
        caption: str = "",
    ):
        self.labels = labels
        self.mae = mae
        self.bias = bias
        self.mae_interval = mae_interval
        self.bias_interval = bias_interval
        self.caption = caption

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        groups: Any = None,
        width: float = 10,
        confidence: float = 0.95,
        random_state: Any = None,
        ax: Axes | None = None,
    ) -> ErrorByAgeDisplay:
        """Predict ages, and plot their errors.

        Parameters
        ----------
        estimator : estimator of ages
            Fitted. It may be the last step of a Pipeline, or inside a search.
        X : sequence of n_samples images, or what the estimator accepts
        y : array-like of shape (n_samples,)
            True ages in years.
        groups : array-like of shape (n_samples,), default=None
            Persons, which the bootstrap draws with all their images of a band. None draws
            images.
        width : float, default=10
            Width of the bands in years.
        confidence : float, default=0.95
            Level of the confidence intervals, above 0 and below 1.
        random_state : int, RandomState instance or None, default=None
            Seeds the bootstrap.
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : ErrorByAgeDisplay

        Raises
        ------
        ValueError
            If lengths differ, a true age is not a finite number, no image has a prediction,
            or `width` or `confidence` is out of range.
        """
        return cls.from_predictions(
            y,
            predict_ages(estimator, X),
            groups=groups,
            width=width,
            confidence=confidence,
            random_state=random_state,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        groups: Any = None,
        width: float = 10,
        confidence: float = 0.95,
        random_state: Any = None,
        ax: Axes | None = None,
    ) -> ErrorByAgeDisplay:
        """Plot the errors of given predictions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            In years.
        y_pred : array-like of shape (n_samples,)
            In years; images with NaN are left out, and a note counts them.
        groups : array-like of shape (n_samples,), default=None
            Persons; as in `from_estimator`.
        width : float, default=10
            Width of the bands in years.
        confidence : float, default=0.95
            Level of the confidence intervals, above 0 and below 1.
        random_state : int, RandomState instance or None, default=None
            Seeds the bootstrap.
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : ErrorByAgeDisplay

        Raises
        ------
        ValueError
            As `from_estimator`.
        """
        check_consistent_length(y_true, groups)
        predicted, (y_pred,) = with_prediction(y_true, y_pred)
        errors = y_pred - predicted.y_true
        bands = age_bands(predicted.y_true, width)
        persons = None if groups is None else np.asarray(groups)[predicted.mask]

        def by_band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            means, intervals = np.empty(len(bands.starts)), np.empty((len(bands.starts), 2))
            for band in range(len(means)):
                inside = bands.codes == band
                means[band] = values[inside].mean()
                intervals[band] = bootstrap_interval(
                    np.mean,
                    values[inside],
                    groups=None if persons is None else persons[inside],
                    confidence_level=confidence,
                    random_state=random_state,
                )
            return means, intervals

        (mae, mae_interval), (bias, bias_interval) = by_band(np.abs(errors)), by_band(errors)
        return cls(
            bands.labels,
            mae,
            bias,
            mae_interval=mae_interval,
            bias_interval=bias_interval,
            caption=missing_note(predicted.n_missing, len(predicted.mask)),
        ).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> ErrorByAgeDisplay:
        """Draw the plot.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : ErrorByAgeDisplay
        """
        at = np.arange(len(self.labels))
        self.ax_ = ax = new_axes(size=(max(4.5, 0.72 * len(at)), 3.4))[0] if ax is None else ax
        self.figure_ = ax.figure
        ax.axhline(0, color=GREY, lw=1)
        for label, given, interval, shift, look in (
            ("MAE", self.mae, self.mae_interval, -0.1, (BLUE, "o")),
            ("bias", self.bias, self.bias_interval, 0.1, (ORANGE, "s")),
        ):
            values, (colour, marker) = np.asarray(given, dtype=float), look
            bars = None if interval is None else np.abs(np.asarray(interval).T - values)
            ax.errorbar(
                at + shift, values, bars, color=colour, fmt=marker, ms=5, capsize=3, label=label
            )
        ax.set_xticks(at, self.labels, fontsize=7.5)
        ax.set(xlabel="true age (years), and number of images", ylabel="years")
        ax.set_title("Error by true age")
        ax.legend(frameon=False, ncols=2, loc="best")
        note(ax, self.caption)
        plain_frame(ax)
        return self
