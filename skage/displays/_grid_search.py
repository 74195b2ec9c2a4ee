"""GridSearchDisplay: the mean test score of a search over one or two parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ._axes import BLUE, ORANGE, new_axes, note, plain_frame

_MAX_LABELLED = 60  # cells that have room for their numbers
_MAX_CHARACTERS = 16  # of a value


class GridSearchDisplay:
    """Map of the mean test score of a grid search over two parameters.

    With one parameter, it is a line with the standard deviation over the folds. With more
    than two, each cell has the best score over the other parameters. Numbers are sorted and
    evenly spaced, so that a geometric grid has a logarithmic axis. Create it with
    `from_estimator`.

    Parameters
    ----------
    params : list of dict
        The parameters of each candidate, as in ``cv_results_["params"]``.
    mean, std : array-like of shape (n_candidates,)
        Mean and standard deviation of each candidate's test score; higher is better.
    shown : sequence of one or two str
        The parameters to show.
    score : str, default="test score"
        What the score is.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skage.displays import GridSearchDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> search = GridSearchCV(Ridge(), {"alpha": [0.1, 1, 10]}).fit(X, y)
    >>> GridSearchDisplay.from_estimator(search).ax_.get_xlabel()
    'alpha'
    """

    def __init__(self, params: Any, mean: Any, std: Any, shown: Any, score: str = "test score"):
        self.params = params
        self.mean = mean
        self.std = std
        self.shown = shown
        self.score = score

    @classmethod
    def from_estimator(
        cls,
        search: Any,
        *,
        params: Sequence[str] | None = None,
        metric: str | None = None,
        ax: Axes | None = None,
    ) -> GridSearchDisplay:
        """Plot the scores of a fitted search.

        Parameters
        ----------
        search : GridSearchCV or another search with ``cv_results_``
            Fitted, also with ``refit=False``. It may be the last step of a Pipeline.
        params : sequence of one or two str, default=None
            The parameters to show, such as ("classifier__lr", "binner__n_bins"). None shows
            those that matter most: between whose values the best score differs most.
        metric : str, default=None
            Name of the metric of a search with several.
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : GridSearchDisplay

        Raises
        ------
        ValueError
            If the search has no results or no score that is a number, or a parameter or the
            metric is unknown.
        """
        results = _results(search)
        suffix = _suffix(results, metric)
        mean = np.asarray(results[f"mean_test_{suffix}"], dtype=float)
        if np.isnan(mean).all():
            raise ValueError(
                "The test scores of all candidates are NaN. Search with error_score='raise' to see "
                "why."
            )
        candidates = results["params"]
        axes = [_axis(name, candidates) for name in _names(candidates)]
        if params is None:
            varied = [axis for axis in axes if len(axis.values) > 1]
            ranked = sorted(varied or axes[:1], key=lambda axis: -_effect(axis, mean))
            params = [axis.name for axis in ranked[:2]]
        known = [axis.name for axis in axes]
        if not 1 <= len(params) <= 2 or not set(params) <= set(known):
            raise ValueError(f"params={params!r} must be one or two of {known}.")
        score = "test score" if suffix == "score" else suffix
        std = results[f"std_test_{suffix}"]
        return cls(candidates, mean, std, tuple(params), score).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> GridSearchDisplay:
        """Draw the plot.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : GridSearchDisplay
        """
        first, *second = [_axis(name, self.params) for name in self.shown]
        columns, rows = first, (second or [_Axis("", [""], np.zeros(len(self.params), int))])[0]
        best = _best_candidates(columns, rows, np.asarray(self.mean, dtype=float))
        if ax is None:
            width, height = max(4.5, 1 + 0.9 * len(columns.values)), 1.6 + 0.55 * len(rows.values)
            ax = new_axes(size=(width, height if second else 3.2))[0]
        self.ax_, self.figure_ = ax, ax.figure
        if second:
            self._draw_map(ax, best)
            ax.set_yticks(range(len(rows.values)), rows.values)
            ax.set_ylabel(rows.name)
        else:
            self._draw_line(ax, best[0])
        ax.set_xticks(range(len(columns.values)), columns.values)
        ax.set(xlabel=columns.name, title=f"Mean {self.score}, higher is better")
        others = [
            name
            for name in _names(self.params)
            if name not in self.shown and len(_axis(name, self.params).values) > 1
        ]
        note(ax, f"with the best {', '.join(others)}" if others else "")
        return self

    def _draw_line(self, ax: Axes, best: np.ndarray) -> None:
        at = np.flatnonzero(best >= 0)
        mean, std = np.asarray(self.mean)[best[at]], np.asarray(self.std)[best[at]]
        ax.errorbar(at, mean, yerr=std, color=BLUE, marker="o", capsize=3)
        top = int(np.argmax(mean))
        ax.plot(at[top], mean[top], "*", color=ORANGE, ms=14, zorder=3, label="best")
        ax.set_ylabel(f"{self.score}, \N{PLUS-MINUS SIGN} standard deviation")
        ax.legend(frameon=False)
        plain_frame(ax)

    def _draw_map(self, ax: Axes, best: np.ndarray) -> None:
        mean, std = (
            np.where(best >= 0, np.asarray(values, dtype=float)[best], np.nan)
            for values in (self.mean, self.std)
        )
        image = ax.imshow(mean, cmap="cividis", origin="lower", aspect="auto")
        ax.figure.colorbar(image, ax=ax, label=self.score)
        top = np.unravel_index(np.nanargmax(mean), mean.shape)
        ax.add_patch(_frame(top))
        if mean.size > _MAX_LABELLED:
            return
        low, high = np.nanmin(mean), np.nanmax(mean)
        digits = 3 if high == low else int(np.clip(1 - np.floor(np.log10(high - low)), 0, 6))
        for (row, column), value in np.ndenumerate(mean):
            if np.isnan(value):
                continue
            text = f"{value:.{digits}f}\n\N{PLUS-MINUS SIGN} {std[row, column]:.{digits}f}"
            colour = "black" if value > (low + high) / 2 else "white"
            weight = "bold" if (row, column) == top else None
            ax.text(
                column,
                row,
                text.replace("-", "\N{MINUS SIGN}"),
                color=colour,
                ha="center",
                va="center",
                fontsize=8,
                weight=weight,
            )


@dataclass(frozen=True)
class _Axis:
    """A parameter, its values as text in order, and the value of each candidate."""

    name: str
    values: list[str]
    codes: np.ndarray


def _results(search: Any) -> Any:
    while isinstance(search, Pipeline):
        search = search[-1]
    check_is_fitted(search)
    if not hasattr(search, "cv_results_"):
        raise ValueError(
            f"{type(search).__name__} is not a search. Pass a fitted GridSearchCV or another "
            "search with cv_results_."
        )
    return search.cv_results_


def _suffix(results: Any, metric: str | None) -> str:
    """Return what follows "mean_test_" in the names of the results of a metric."""
    prefix = "mean_test_"
    known = [name.removeprefix(prefix) for name in results if name.startswith(prefix)]
    if metric is None and len(known) == 1:
        return known[0]
    if metric in known:
        return str(metric)
    raise ValueError(f"metric={metric!r} must be one of {known}, the metrics of this search.")


def _names(candidates: Any) -> list[str]:
    """Return the names of all parameters, in order."""
    return list(dict.fromkeys(name for candidate in candidates for name in candidate))


def _axis(name: str, candidates: Any) -> _Axis:
    """Sort the values of a parameter: numbers first, then the others as they occur."""
    missing = object()  # of a candidate from another grid, which does not vary it
    given = [candidate.get(name, missing) for candidate in candidates]
    texts = ["\N{EM DASH}" if value is missing else _text(value) for value in given]
    numbers = {t: v for t, v in zip(texts, given, strict=True) if _is_number(v)}
    ordered = sorted(numbers, key=lambda text: numbers[text])
    ordered += dict.fromkeys(text for text in texts if text not in numbers)
    return _Axis(name, ordered, np.array([ordered.index(text) for text in texts]))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _text(value: Any) -> str:
    text = f"{value:.4g}" if _is_number(value) else str(value)
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 3] + "..."


def _effect(axis: _Axis, mean: np.ndarray) -> float:
    """Return how much the best scores of a parameter's values differ."""
    scores = np.where(np.isnan(mean), -np.inf, mean)
    best = [scores[axis.codes == code].max() for code in range(len(axis.values))]
    found = [score for score in best if score > -np.inf]
    return max(found) - min(found)


def _best_candidates(columns: _Axis, rows: _Axis, mean: np.ndarray) -> np.ndarray:
    """Return the position of the best candidate of each cell, -1 where there is none."""
    best = np.full((len(rows.values), len(columns.values)), -1)
    for position in np.argsort(mean):  # NaN last, which a cell without a score keeps out
        if not np.isnan(mean[position]):
            best[rows.codes[position], columns.codes[position]] = position
    return best


def _frame(cell: Any) -> Any:
    from matplotlib.patches import Rectangle

    row, column = cell
    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=ORANGE, lw=3, clip_on=False)
