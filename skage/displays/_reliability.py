"""ReliabilityDisplay: the probability integral transform of predicted distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..metrics._distributions import pit_values, share_below
from ._axes import BLACK, BLUE, missing_note, new_axes, note, plain_frame, style
from ._predictions import model_name, predict, with_prediction

_N_LEVELS = 100  # of the distribution function
_N_BARS = 10


class ReliabilityDisplay:
    """Plot of the probability integral transform (PIT) of predicted distributions of age.

    The PIT of an image is the predicted distribution function at the true age. If the
    distributions are calibrated, it is uniform: bars of equal height, or a line on the
    diagonal. High bars at both ends mean that the distributions are too narrow, a high
    middle that they are too wide, and a slope that ages are predicted too high or too low
    (Gneiting, Balabdaoui and Raftery, JRSS B 2007). If all true ages are whole years, an
    age stands for its year, whose probability is spread uniformly between the distribution
    function at its start and end: the nonrandomised PIT of Czado, Gneiting and Held,
    Biometrics 2009. Create it with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    levels : ndarray of shape (n_levels,)
        From 0 to 1.
    cdf : ndarray of shape (n_levels,)
        The share of images whose PIT is at most each level.
    kind : {"histogram", "cdf"}, default="histogram"
        What to draw. Only lines of "cdf" are readable for several models on the same axes.
    name : str, default=None
        The model's name in the legend of "cdf".
    caption : str, default=""
        Written below the plot.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    Examples
    --------
    >>> import numpy as np
    >>> from skage import AgeBinner
    >>> from skage.displays import ReliabilityDisplay
    >>> ages = np.repeat(np.arange(20, 30), 5)
    >>> binner = AgeBinner(n_bins=10).fit(ages)
    >>> same_for_all = np.full((50, 10), 0.1)
    >>> display = ReliabilityDisplay.from_predictions(ages, same_for_all, binner)
    >>> bool(np.allclose(display.cdf, display.levels))
    True
    """

    def __init__(
        self,
        levels: np.ndarray,
        cdf: np.ndarray,
        *,
        kind: str = "histogram",
        name: str | None = None,
        caption: str = "",
    ):
        self.levels = levels
        self.cdf = cdf
        self.kind = kind
        self.name = name
        self.caption = caption

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        kind: str = "histogram",
        name: str | None = None,
        ax: Axes | None = None,
    ) -> ReliabilityDisplay:
        """Predict distributions, and plot their PIT.

        Parameters
        ----------
        estimator : estimator with predict_dist, such as BinnedAgeRegressor
            Fitted. It may be the last step of a Pipeline, or inside a search.
        X : sequence of n_samples images, or what the estimator accepts
        y : array-like of shape (n_samples,)
            True ages in years.
        kind : {"histogram", "cdf"}, default="histogram"
            What to draw.
        name : str, default=None
            The model's name in the legend of "cdf". None means its class.
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : ReliabilityDisplay

        Raises
        ------
        ValueError
            If the estimator does not predict distributions, X and y differ in length, a
            true age is not a finite number, no image has a prediction, or `kind` is unknown.
        """
        distribution, binner = predict(estimator, X, _predict_dist)
        name = model_name(estimator) if name is None else name
        return cls.from_predictions(y, distribution, binner, kind=kind, name=name, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        distribution: Any,
        binner: Any,
        *,
        kind: str = "histogram",
        name: str | None = None,
        ax: Axes | None = None,
    ) -> ReliabilityDisplay:
        """Plot the PIT of given distributions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            In years.
        distribution : array-like of shape (n_samples, n_bins)
            As `predict_dist` returns it. Images with NaN are left out, and a note counts
            them.
        binner : AgeBinner
            Fitted; its bins are those of `distribution`.
        kind : {"histogram", "cdf"}, default="histogram"
            What to draw.
        name : str, default=None
            The model's name in the legend of "cdf".
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : ReliabilityDisplay

        Raises
        ------
        ValueError
            As `from_estimator`.
        """
        if kind not in ("histogram", "cdf"):
            raise ValueError(f"kind={kind!r} is unknown. Pass 'histogram' or 'cdf'.")
        predicted, (distribution,) = with_prediction(y_true, distribution)
        levels = np.linspace(0, 1, _N_LEVELS + 1)
        cdf = _pit_cdf(predicted.y_true, distribution, binner, levels)
        caption = missing_note(predicted.n_missing, len(predicted.mask))
        return cls(levels, cdf, kind=kind, name=name, caption=caption).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> ReliabilityDisplay:
        """Draw the plot.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : ReliabilityDisplay
        """
        self.ax_ = ax = new_axes()[0] if ax is None else ax
        self.figure_ = ax.figure
        if self.kind == "histogram":
            self._draw_histogram(ax)
        else:
            self._draw_cdf(ax)
        ax.set(xlim=(0, 1), title="Reliability")
        ax.legend(frameon=False, fontsize=9)
        note(ax, self.caption)
        plain_frame(ax)
        return self

    def _draw_histogram(self, ax: Axes) -> None:
        edges = np.linspace(0, 1, _N_BARS + 1)
        below = np.interp(edges, self.levels, self.cdf)
        below[0] = 0  # a PIT of exactly 0 belongs to the first bar
        heights = 100 * np.diff(below)
        ax.stairs(heights, edges, fill=True, color=BLUE, alpha=0.55)
        ax.stairs(heights, edges, color=BLUE)
        ax.axhline(100 / _N_BARS, color=BLACK, ls="--", lw=1.2, label="if calibrated")
        ax.set(xlabel="predicted probability of being younger (PIT)", ylabel="images (%)")
        ax.set_ylim(0, 1.25 * max(heights.max(), 100 / _N_BARS))  # leaves room for the legend

    def _draw_cdf(self, ax: Axes) -> None:
        models = [line for line in ax.lines if line.get_gid() == "model"]
        if not models:
            ax.plot([0, 1], [0, 100], color=BLACK, ls=":", lw=1.2, label="if calibrated")
        look = style(len(models)) | {"marker": None}
        ax.plot(self.levels, 100 * self.cdf, label=self.name, gid="model", **look)
        ax.set(xlabel="predicted probability of being younger (PIT)", ylabel="images below (%)")
        ax.set_ylim(0, 100)


def _predict_dist(model: Any, X: Any) -> tuple[np.ndarray, Any]:
    if not hasattr(model, "predict_dist"):
        raise ValueError(
            f"{type(model).__name__} does not predict distributions of age. Pass a "
            "BinnedAgeRegressor."
        )
    return model.predict_dist(X), model.binner_


def _pit_cdf(
    y_true: np.ndarray, distribution: np.ndarray, binner: Any, levels: np.ndarray
) -> np.ndarray:
    """Return the mean over images of the distribution function of the PIT."""
    half = 0.5 if (y_true == np.floor(y_true)).all() else 0.0
    low, high = (pit_values(y_true + shift, distribution, binner) for shift in (-half, half))
    return np.array([share_below(level, low, high).mean() for level in levels])
