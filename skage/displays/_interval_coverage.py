"""IntervalCoverageDisplay: how often predicted intervals contain the true age, by age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..metrics import binomial_interval
from ._axes import missing_note, new_axes, note, plain_frame
from ._predictions import age_bands, predict, with_prediction

#: Darker for a higher nominal coverage.
_COLOURS, _MARKERS = ("#9db9dd", "#6f97c9", "#3b6fb6", "#173f73"), "^osDvx"


class IntervalCoverageDisplay:
    """Plot of the coverage of predicted intervals by band of true age.

    Each marker is the share of images of a band whose interval contains the true age, with
    its exact (Clopper-Pearson) confidence interval. The dashed line of the same colour is
    the nominal coverage. Create it with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    labels : sequence of n_bands str
        Names of the bands, below the axis.
    nominal : array-like of shape (n_levels,)
        The nominal coverages, from 0 to 1.
    covered : array-like of shape (n_levels, n_bands)
        Numbers of images whose interval contains the true age.
    counts : array-like of shape (n_bands,)
        Numbers of images.
    confidence : float, default=0.95
        Level of the confidence intervals.
    caption : str, default=""
        Written below the plot.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    Examples
    --------
    >>> from skage.displays import IntervalCoverageDisplay
    >>> intervals = {0.5: [(22, 26), (31, 35), (37, 41)]}
    >>> display = IntervalCoverageDisplay.from_predictions([25, 30, 38], intervals)
    >>> display.covered
    array([[1, 1]])
    """

    def __init__(
        self,
        labels: Any,
        nominal: Any,
        covered: Any,
        counts: Any,
        *,
        confidence: float = 0.95,
        caption: str = "",
    ):
        self.labels = labels
        self.nominal = nominal
        self.covered = covered
        self.counts = counts
        self.confidence = confidence
        self.caption = caption

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        coverages: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
        width: float = 10,
        confidence: float = 0.95,
        ax: Axes | None = None,
    ) -> IntervalCoverageDisplay:
        """Predict intervals, and plot how often they contain the true age.

        Parameters
        ----------
        estimator : estimator with predict_dist and decode_interval, such as BinnedAgeRegressor
            Fitted. It may be the last step of a Pipeline, or inside a search.
        X : sequence of n_samples images, or what the estimator accepts
        y : array-like of shape (n_samples,)
            True ages in years.
        coverages : sequence of floats, default=(0.5, 0.8, 0.9, 0.95)
            Nominal coverages, above 0 and below 1.
        width : float, default=10
            Width of the bands of true age in years.
        confidence : float, default=0.95
            Level of the confidence intervals, above 0 and below 1.
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : IntervalCoverageDisplay

        Raises
        ------
        ValueError
            If the estimator does not predict intervals, lengths differ, a true age is not a
            finite number, no image has a prediction, or a parameter is out of range.
        """

        def intervals(model: Any, X: Any) -> dict[float, np.ndarray]:
            if not hasattr(model, "decode_interval"):
                raise ValueError(
                    f"{type(model).__name__} does not predict intervals. Pass a BinnedAgeRegressor."
                )
            distribution = model.predict_dist(X)  # once for all coverages
            return {level: model.decode_interval(distribution, level) for level in coverages}

        found = predict(estimator, X, intervals)
        return cls.from_predictions(y, found, width=width, confidence=confidence, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        intervals: Mapping[float, Any],
        *,
        width: float = 10,
        confidence: float = 0.95,
        ax: Axes | None = None,
    ) -> IntervalCoverageDisplay:
        """Plot how often given intervals contain the true age.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            In years.
        intervals : dict of float to array-like of shape (n_samples, 2)
            Lower and upper bounds in years for each nominal coverage, as
            `predict_interval` returns them. Images with NaN are left out, and a note counts
            them.
        width : float, default=10
            Width of the bands of true age in years.
        confidence : float, default=0.95
            Level of the confidence intervals, above 0 and below 1.
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : IntervalCoverageDisplay

        Raises
        ------
        ValueError
            As `from_estimator`.
        """
        nominal = sorted(intervals)
        if not nominal or not all(0 < coverage < 1 for coverage in nominal):
            raise ValueError(
                f"The nominal coverages are {nominal}. Pass at least one, each above 0 and below 1."
            )
        for coverage in nominal:
            if np.shape(intervals[coverage])[1:] != (2,):
                raise ValueError(
                    f"The intervals of coverage {coverage:g} have shape "
                    f"{np.shape(intervals[coverage])}. Pass lower and upper bounds of shape "
                    "(n_samples, 2)."
                )
        predicted, bounds = with_prediction(y_true, *(intervals[level] for level in nominal))
        bands = age_bands(predicted.y_true, width)
        covered = [
            np.bincount(
                bands.codes[(low <= predicted.y_true) & (predicted.y_true <= high)],
                minlength=len(bands.starts),
            )
            for low, high in (interval.T for interval in bounds)
        ]
        return cls(
            bands.labels,
            nominal,
            np.array(covered),
            bands.counts,
            confidence=confidence,
            caption=missing_note(predicted.n_missing, len(predicted.mask)),
        ).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> IntervalCoverageDisplay:
        """Draw the plot.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : IntervalCoverageDisplay
        """
        at, counts = np.arange(len(self.labels)), np.asarray(self.counts)
        self.ax_ = ax = new_axes(size=(max(4.5, 0.85 * len(at)), 3.8))[0] if ax is None else ax
        self.figure_ = ax.figure
        n_levels = len(self.nominal)
        for i, (nominal, covered) in enumerate(zip(self.nominal, self.covered, strict=True)):
            colour = _COLOURS[-1 - (n_levels - 1 - i) % len(_COLOURS)]
            share = np.asarray(covered) / counts
            low, high = binomial_interval(covered, counts, self.confidence)
            ax.axhline(100 * nominal, color=colour, ls="--", lw=1)
            ax.errorbar(
                at + 0.12 * (i - (n_levels - 1) / 2),
                100 * share,
                yerr=100 * np.stack([share - low, high - share]),
                color=colour,
                fmt=_MARKERS[i % len(_MARKERS)],
                ms=4,
                lw=1,
                capsize=2,
                label=f"{100 * nominal:g} %",
            )
        ax.set_xticks(at, self.labels, fontsize=7.5)
        ax.set(xlabel="true age (years), and number of images", ylim=(0, 102))
        ax.set(ylabel="images whose age is inside (%)", title="Coverage of the intervals")
        ax.legend(
            title="nominal", frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5)
        )
        note(ax, self.caption)
        plain_frame(ax)
        return self
