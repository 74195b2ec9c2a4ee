"""ChallengeAgeDisplay: who passes a challenge age although under the limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..metrics import binomial_interval
from ._axes import missing_note, new_axes, note, plain_frame, style
from ._predictions import predict_ages, with_prediction

_SHIFT = 0.12  # years between the lines, so that their bars do not overlap


class ChallengeAgeDisplay:
    """Plot of the share of persons under the age limit who pass, against the challenge age.

    A person passes whose predicted age is at least the challenge age. Bars are exact
    (Clopper-Pearson) confidence intervals of each share, also where nobody passes. Create
    it with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    challenge_ages : array-like of shape (n_challenge_ages,)
        In years.
    passed : array-like of shape (n_lines, n_challenge_ages)
        Numbers of images that pass.
    counts : array-like of shape (n_lines,)
        Numbers of images.
    names : sequence of n_lines str
        Whose images each line shows.
    limit : float, default=18
        In years.
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
    >>> from skage.displays import ChallengeAgeDisplay
    >>> display = ChallengeAgeDisplay.from_predictions(
    ...     [15, 16, 17, 30], [16, 21, 19, 33], challenge_ages=[18, 20, 22]
    ... )
    >>> display.passed
    array([[2, 1, 0]])
    """

    def __init__(
        self,
        challenge_ages: Any,
        passed: Any,
        counts: Any,
        names: Any,
        *,
        limit: float = 18,
        confidence: float = 0.95,
        caption: str = "",
    ):
        self.challenge_ages = challenge_ages
        self.passed = passed
        self.counts = counts
        self.names = names
        self.limit = limit
        self.confidence = confidence
        self.caption = caption

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        limit: float = 18,
        challenge_ages: Sequence[float] = tuple(range(18, 31)),
        ages: Sequence[int] | None = None,
        confidence: float = 0.95,
        ax: Axes | None = None,
    ) -> ChallengeAgeDisplay:
        """Predict ages, and plot who passes.

        Parameters
        ----------
        estimator : estimator of ages
            Fitted. It may be the last step of a Pipeline, or inside a search.
        X : sequence of n_samples images, or what the estimator accepts
        y : array-like of shape (n_samples,)
            True ages in years.
        limit : float, default=18
            Age limit in years; only images of persons under it are shown.
        challenge_ages : sequence of floats, default=(18, 19, ..., 30)
            Predicted ages in years from which on a person passes, ascending.
        ages : sequence of int, default=None
            Whole years of true age under the limit, such as (14, 15, 16, 17), with a line
            for each. None draws one line for all persons under the limit.
        confidence : float, default=0.95
            Level of the confidence intervals, above 0 and below 1.
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : ChallengeAgeDisplay

        Raises
        ------
        ValueError
            If X and y differ in length, a true age is not a finite number, an age of `ages`
            is not under the limit, or none of the persons shown has a prediction.
        """
        return cls.from_predictions(
            y,
            predict_ages(estimator, X),
            limit=limit,
            challenge_ages=challenge_ages,
            ages=ages,
            confidence=confidence,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        limit: float = 18,
        challenge_ages: Sequence[float] = tuple(range(18, 31)),
        ages: Sequence[int] | None = None,
        confidence: float = 0.95,
        ax: Axes | None = None,
    ) -> ChallengeAgeDisplay:
        """Plot who passes by given predictions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            In years.
        y_pred : array-like of shape (n_samples,)
            In years; images with NaN are left out, and a note counts those of persons under
            the limit.
        limit : float, default=18
            Age limit in years.
        challenge_ages : sequence of floats, default=(18, 19, ..., 30)
            As in `from_estimator`.
        ages : sequence of int, default=None
            As in `from_estimator`.
        confidence : float, default=0.95
            Level of the confidence intervals, above 0 and below 1.
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : ChallengeAgeDisplay

        Raises
        ------
        ValueError
            As `from_estimator`.
        """
        if ages is not None and (not len(ages) or max(ages) >= limit):
            raise ValueError(
                f"ages={ages!r} must be whole years under the limit of {limit:g}. Pass, for "
                "example, (14, 15, 16, 17), or None for all persons under the limit."
            )
        predicted, (y_pred,) = with_prediction(y_true, y_pred)
        y_true, all_true = predicted.y_true, np.asarray(y_true, dtype=float).ravel()
        under = y_true < limit
        groups = {f"under {limit:g}": under}
        if ages is not None:
            groups = {f"{age} years": under & (np.floor(y_true) == age) for age in ages}
        groups = {name: inside for name, inside in groups.items() if inside.any()}
        if not groups:
            raise ValueError(
                f"None of the {len(y_true)} images with a prediction is of a person under "
                f"{limit:g}{'' if ages is None else f' of age {list(ages)}'}. Pass images of such "
                "persons."
            )
        cuts = np.asarray(challenge_ages, dtype=float)
        passed = [(y_pred[inside][:, None] >= cuts).sum(axis=0) for inside in groups.values()]
        n_missing = int(((all_true < limit) & ~predicted.mask).sum())
        return cls(
            cuts,
            np.array(passed),
            [int(inside.sum()) for inside in groups.values()],
            list(groups),
            limit=limit,
            confidence=confidence,
            caption=missing_note(n_missing, int((all_true < limit).sum())),
        ).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> ChallengeAgeDisplay:
        """Draw the plot.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : ChallengeAgeDisplay
        """
        self.ax_ = ax = new_axes(size=(5.2, 3.6))[0] if ax is None else ax
        self.figure_ = ax.figure
        n_lines = len(self.names)
        lines = zip(self.names, self.passed, self.counts, strict=True)
        for i, (name, passed, n) in enumerate(lines):
            low, high = binomial_interval(passed, np.full(len(passed), n), self.confidence)
            rate = np.asarray(passed) / n
            ax.errorbar(
                np.asarray(self.challenge_ages) + _SHIFT * (i - (n_lines - 1) / 2),
                100 * rate,
                yerr=100 * np.stack([rate - low, high - rate]),
                ms=4,
                elinewidth=1,
                capsize=2,
                label=f"{name} ({n:,} image{'s' * (n > 1)})",
                **style(i),
            )
        ax.set(xlabel="challenge age (years)", ylabel="share (%)")
        ax.set_title(f"Persons under {self.limit:g} who pass")
        ax.set_ylim(bottom=-0.02 * ax.get_ylim()[1])  # markers at 0 are visible
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(axis="y", lw=0.5, alpha=0.5)
        bars = f"bars: exact {100 * self.confidence:g} % confidence"
        ax.legend(frameon=False, fontsize=8, title=bars, title_fontsize=7.5)
        note(ax, self.caption)
        plain_frame(ax)
        return self
