"""AgeBinsDisplay: age bins over a histogram of ages."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .._checks import check_ages
from .._unwrap import unwrap
from ._axes import BLUE, GREY, ORANGE, new_axes, plain_frame


class AgeBinsDisplay:
    """Plot of age bins over a histogram of ages.

    Create it with `from_estimator`.

    Parameters
    ----------
    binner : AgeBinner
        Fitted.
    ages : array-like of shape (n_samples,)
        In years.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure
    """

    def __init__(self, binner: Any, ages: Any):
        self.binner = binner
        self.ages = ages

    @classmethod
    def from_estimator(cls, estimator: Any, ages: Any, *, ax: Axes | None = None) -> AgeBinsDisplay:
        """Plot bins over a histogram of ages.

        Parameters
        ----------
        estimator : AgeBinner or BinnedAgeRegressor
            Fitted. It may be the last step of a Pipeline, or inside a search.
        ages : array-like of shape (n_samples,)
            In years.
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : AgeBinsDisplay

        Raises
        ------
        ValueError
            If the estimator has no age bins, or an age is not a finite number.
        """
        model = unwrap(estimator)[0]
        binner = getattr(model, "binner_", model)
        if not hasattr(binner, "bin_edges_"):
            raise ValueError(
                f"{type(model).__name__} has no age bins. Pass a fitted BinnedAgeRegressor or "
                "AgeBinner."
            )
        return cls(binner, check_ages(ages, "ages")).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> AgeBinsDisplay:
        """Draw the plot.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : AgeBinsDisplay
        """
        self.ax_ = ax = new_axes()[0] if ax is None else ax
        self.figure_ = ax.figure
        edges = self.binner.bin_edges_
        years = np.arange(np.floor(min(self.ages)) - 0.5, np.ceil(max(self.ages)) + 1).tolist()
        ax.hist(self.ages, bins=years, color=GREY)
        for low, high in zip(edges[:-1:2], edges[1::2], strict=False):
            ax.axvspan(low, high, color=BLUE, alpha=0.13, lw=0)
        top = ax.get_ylim()[1]
        height = np.full(self.binner.n_bins_, 1.04 * top)
        ax.plot(self.binner.bin_values_, height, "v", color=ORANGE, ms=4, label="a bin's age")
        ax.set_title(f"{self.binner.n_bins_} bins")
        ax.set(xlabel="age (years)", ylabel="images", ylim=(0, 1.28 * top))
        ax.set_xlim(min(edges[0], years[0]), max(edges[-1], years[-1]))
        ax.legend(frameon=False, loc="upper right", borderaxespad=0)
        plain_frame(ax)
        return self
