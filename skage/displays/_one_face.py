"""AgeDistributionDisplay: the predicted distribution of one person's age."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .._images.reading import describe
from .._unwrap import unwrap
from ._axes import BLUE, ORANGE, new_axes, plain_frame

_VISIBLE = 0.01  # fraction of the highest bar; lower bars cannot be seen
_MIN_YEARS = 24  # shown on an axis of ages


class AgeDistributionDisplay:
    """Plot of the predicted distribution of one person's age.

    Create it with `from_estimator`.

    Parameters
    ----------
    years : ndarray of shape (n_years,)
        Consecutive whole ages in years.
    probabilities : ndarray of shape (n_years,)
        Probability that the age, rounded to whole years, is each of `years`.
    age : float
        Predicted age in years.
    interval : (float, float)
        Lower and upper bound of the interval to shade, in years.
    true_age : float, default=None
        In years; drawn if given.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure
    """

    def __init__(
        self,
        years: np.ndarray,
        probabilities: np.ndarray,
        age: float,
        interval: tuple[float, float],
        true_age: float | None = None,
    ):
        self.years = years
        self.probabilities = probabilities
        self.age = age
        self.interval = interval
        self.true_age = true_age

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        image: Any,
        *,
        true_age: float | None = None,
        coverage: float = 0.9,
        ax: Axes | None = None,
    ) -> AgeDistributionDisplay:
        """Predict and plot the distribution of one image.

        Parameters
        ----------
        estimator : BinnedAgeRegressor
            Fitted. It may be the last step of a Pipeline, or inside a search.
        image : path, PIL image or array
        true_age : float, default=None
            In years; drawn if given.
        coverage : float, default=0.9
            Probability inside the shaded interval, above 0 and below 1.
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : AgeDistributionDisplay

        Raises
        ------
        ValueError
            If the estimator does not predict distributions of age, `coverage` is not
            between 0 and 1, or the image has no prediction.
        """
        model, X = unwrap(estimator, [image])
        if not hasattr(model, "predict_dist"):
            raise ValueError(
                f"{type(model).__name__} does not predict distributions of age. Pass a "
                "BinnedAgeRegressor."
            )
        distribution = model.predict_dist(X)
        if np.isnan(distribution).any():
            raise ValueError(
                f"{describe(image, 0)} has no prediction: it cannot be read, or shows no face. "
                "Pass another image."
            )
        binner = model.binner_
        low, high = binner.bin_support_.min(), binner.bin_support_.max()
        years = np.arange(np.ceil(low - 0.5), np.floor(high + 0.5) + 1)
        edges = np.append(years, years[-1] + 1) - 0.5
        probabilities = np.diff(binner.cdf(distribution, edges)[0])
        interval = model.decode_interval(distribution, coverage)[0]
        age = float(model.decode_dist(distribution)[0])
        display = cls(years, probabilities, age, (float(interval[0]), float(interval[1])), true_age)
        return display.plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> AgeDistributionDisplay:
        """Draw the plot.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : AgeDistributionDisplay
        """
        self.ax_ = ax = new_axes()[0] if ax is None else ax
        self.figure_ = ax.figure
        low, high = self.interval
        edges = np.append(self.years, self.years[-1] + 1) - 0.5
        ax.stairs(100 * self.probabilities, edges, fill=True, color=BLUE, alpha=0.55)
        ax.axvspan(low, high, color=BLUE, alpha=0.1, lw=0)
        ax.axvline(self.age, color=BLUE, label=f"predicted {self.age:.0f}")
        if self.true_age is not None:
            ax.axvline(self.true_age, color=ORANGE, ls="--", label=f"true {self.true_age:.0f}")
        ax.set(xlabel="age (years)", ylabel="probability of a year (%)", title="One face's age")
        marks = [low, high, self.age, self.age if self.true_age is None else self.true_age]
        left, right = _shown_range(self.years, self.probabilities, marks)
        ax.set_xlim(left, right)
        top = 1.28 * 100 * self.probabilities.max()  # leaves room for the legend
        ax.set_ylim(0, top)
        ax.set_yticks([tick for tick in ax.get_yticks() if tick <= min(top, 100)])
        ax.legend(
            loc="upper left" if self.age > (left + right) / 2 else "upper right",
            borderaxespad=0,
            edgecolor="none",
            framealpha=0.85,
        )
        plain_frame(ax)
        return self


def _shown_range(
    years: np.ndarray, probabilities: np.ndarray, marks: list[float]
) -> tuple[float, float]:
    """Return the range of ages with visible bars or marks, at least `_MIN_YEARS` wide."""
    visible = years[probabilities >= _VISIBLE * probabilities.max()]
    left, right = np.floor(min(visible[0], *marks)) - 1, np.ceil(max(visible[-1], *marks)) + 1
    spare = max(_MIN_YEARS - (right - left), 0)
    left = max(left - spare / 2, min(left, years[0] - 0.5))
    return left, max(right, left + _MIN_YEARS)
