"""compare: the difference between the errors of two models on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length

from .._checks import check_ages
from .._sklearn import Interval, validate_params
from ._evaluate import BANDS
from ._figures import Sums, image_values
from ._groups import Cells, group_columns
from ._options import check_bands, generator, person_codes
from ._predictions import Predictions, as_predictions
from ._result import format_bounds, format_difference, format_value
from ._tables import Resampled, known_figures, resample

_PARAMETERS = {
    "coverage": [Interval(Real, 0, 1, closed="neither")],
    "n_resamples": [Interval(Integral, 0, None, closed="left")],
    "confidence_level": [Interval(Real, 0, 1, closed="neither")],
    "random_state": ["random_state"],
}


@dataclass(frozen=True, repr=False)
class Comparison:
    """The difference between two models on the same images, as `compare` computes it.

    Parameters
    ----------
    names : (str, str)
        Of the two models.
    overall : DataFrame
        Indexed by figure: label, unit, the value of each model as a and b, difference
        (b - a) and the bounds of its interval, low and high.
    by : dict of str to DataFrame
        By band of age, each column of `by` and pairs of them: the groups, n_images, mae_a,
        mae_b, difference, low and high, in years.
    n_images : int
        Images for which both have a prediction; the figures are of these.
    n_left_out : (int, int)
        Images for which a, and b, has no prediction.
    """

    names: tuple[str, str]
    overall: pd.DataFrame
    by: dict[str, pd.DataFrame]
    n_images: int
    n_left_out: tuple[int, int]

    def __repr__(self) -> str:
        a, b = self.names
        lines = [
            f"Comparison of {a} (a) and {b} (b) on {self.n_images:,} images",
            f"  without a prediction: a {self.n_left_out[0]:,}, b {self.n_left_out[1]:,}",
            f"  {'':<48} {'a':>8} {'b':>8} {'b - a':>12}",
        ]
        for row in self.overall.itertuples():
            a, b = format_value(row.a, row.unit), format_value(row.b, row.unit)
            difference = format_difference(row.difference, row.unit)
            bounds = format_bounds(row.low, row.high, "points" if row.unit == "share" else row.unit)
            lines.append(f"  {row.label:<48.48} {a:>8} {b:>8} {difference:>12} {bounds}".rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from ._report import render_comparison

        return render_comparison(self)


@validate_params(_PARAMETERS, prefer_skip_nested_validation=True)
def compare(
    a: Any,
    b: Any,
    X: Any = None,
    y: Any = None,
    *,
    groups: Any = None,
    by: Any = None,
    bands: Sequence[float] = BANDS,
    coverage: float = 0.9,
    n_resamples: int = 1000,
    confidence_level: float = 0.95,
    random_state: Any = 0,
) -> Comparison:
    """Compare two models, or predictions, on the same images.

    The bootstrap is paired: each sample draws the same persons for both, so that the
    interval is that of the difference.

    Parameters
    ----------
    a, b : estimator, array-like, DataFrame or path
        As for `evaluate`.
    X, y, groups, by, bands, coverage : object
        As for `evaluate`.
    n_resamples : int, default=1000
        Bootstrap samples; 0 computes no intervals.
    confidence_level : float, default=0.95
        Of the intervals of the differences.
    random_state : int, RandomState instance or None, default=0
        Seeds the bootstrap.

    Returns
    -------
    comparison : Comparison
        Differences are b - a: below 0, the error of b is smaller.

    Raises
    ------
    ValueError
        As in `evaluate`, or if no image has both predictions.

    Examples
    --------
    >>> import skage
    >>> y = [20, 30, 40, 50]
    >>> comparison = skage.compare([21, 32, 43, 54], [20, 31, 42, 53], y=y)
    >>> comparison.overall.loc["mae", ["a", "b", "difference"]].tolist()
    [2.5, 1.5, -1.0]
    """
    if y is None:
        raise ValueError("A comparison needs the true ages. Pass them as y, in years.")
    y = check_ages(y)
    check_consistent_length(y, X, groups)
    columns = group_columns(by, len(y))
    found = [as_predictions(given, X, len(y), coverage) for given in (a, b)]
    both = found[0].has_age & found[1].has_age
    if not both.any():
        raise ValueError("No image has a prediction of both, so that they cannot be compared.")
    values: dict[str, np.ndarray] = {}
    constant = float(np.median(y))
    for prefix, of in zip("ab", found, strict=True):
        of = replace(of, ages=np.where(both, of.ages, np.nan))
        for name, column in image_values(of, y, constant, coverage).items():
            values[f"{prefix}.{name}"] = column
    cells = Cells(y, columns, check_bands(bands))
    shown = cells.shown()
    resampled = resample(
        values,
        cells,
        [cells.grouping(), *shown],
        person_codes(groups, len(y)),
        both,
        n_resamples=n_resamples,
        confidence_level=confidence_level,
        rng=generator(random_state),
        progress=lambda n: None,
    )
    return Comparison(
        _names(found),
        _overall(resampled),
        {grouping.name: _by(resampled, i) for i, grouping in enumerate(shown, 1)},
        int(both.sum()),
        (int((~found[0].has_age).sum()), int((~found[1].has_age).sum())),
    )


def _names(found: list[Predictions]) -> tuple[str, str]:
    a, b = (of.name for of in found)
    return (f"{a} (1)", f"{b} (2)") if a == b else (a, b)


def _of(sums: Sums, prefix: str) -> Sums:
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in sums.items() if k.startswith(start)}


def _overall(resampled: Resampled) -> pd.DataFrame:
    point, samples = resampled.point[0], resampled.samples[0]
    common = _of(point, "a").keys() & _of(point, "b").keys()
    rows = []
    for figure in known_figures(common):
        if figure.name == "constant_mae":
            continue
        a, b = (figure.of(_of(point, prefix))[0] for prefix in "ab")
        drawn = figure.of(_of(samples, "b")) - figure.of(_of(samples, "a"))
        low, high = resampled.interval(drawn[:, 0])
        row = {"figure": figure.name, "label": figure.label, "unit": figure.unit}
        rows.append(row | {"a": a, "b": b, "difference": b - a, "low": low, "high": high})
    return pd.DataFrame(rows).set_index("figure").astype({"low": float, "high": float})


def _by(resampled: Resampled, i: int) -> pd.DataFrame:
    mae = known_figures(["absolute"])[0]
    point, samples = resampled.point[i], resampled.samples[i]
    table = resampled.groupings[i].keys.copy()
    table["n_images"] = point["a.n"].astype(int)
    for prefix in "ab":
        table[f"mae_{prefix}"] = mae.of(_of(point, prefix))
    table["difference"] = table["mae_b"] - table["mae_a"]
    drawn = mae.of(_of(samples, "b")) - mae.of(_of(samples, "a"))
    table["low"], table["high"] = resampled.group_intervals(drawn, i)
    return table
