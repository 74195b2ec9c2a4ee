"""Tables of figures with bootstrap intervals: overall, by group, and between groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ._figures import FIGURES, Figure, Sums, ratio
from ._groups import BAND, YEAR, Cells, Grouping, sex_column
from ._resampling import CellSums, merged, percentiles

NIST_AGES = range(18, 31)


@dataclass(frozen=True)
class Resampled:
    """Sums of the images and of bootstrap samples, by grouping.

    Parameters
    ----------
    groupings : list of Grouping
    point, samples : list of dict of str to ndarray
        Sums by name of each grouping, of shapes (n_groups,) and (n_resamples, n_groups).
    n_persons : list of ndarray of shape (n_groups,), int
        Persons with a prediction in each group.
    confidence_level : float
    """

    groupings: list[Grouping]
    point: list[Sums]
    samples: list[Sums]
    n_persons: list[np.ndarray]
    confidence_level: float

    def index(self, *by: str) -> int:
        return [grouping.by for grouping in self.groupings].index(by)

    def interval(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(samples) == 0:
            nothing = np.full(samples.shape[1:], np.nan)
            return nothing, nothing
        return percentiles(samples, self.confidence_level)

    def group_intervals(self, samples: np.ndarray, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Intervals of the groups of a grouping; NaN for groups of one person.

        One person says nothing about how much persons differ: the interval would have no width.
        """
        low, high = (np.where(self.n_persons[i] > 1, b, np.nan) for b in self.interval(samples))
        return low, high


def resample(
    values: dict[str, np.ndarray],
    cells: Cells,
    groupings: list[Grouping],
    persons: np.ndarray,
    has_age: np.ndarray,
    *,
    n_resamples: int,
    confidence_level: float,
    rng: np.random.Generator,
    progress: Callable[[int], Any],
) -> Resampled:
    """Sum the values in all groups, once and for bootstrap samples of the persons.

    There are no samples if only one person has a prediction.
    """
    names = list(values)
    if len(np.unique(persons[has_age])) == 1:
        n_resamples = 0
    sums = CellSums(np.column_stack(list(values.values())), cells.codes, persons)

    def in_groups(found: np.ndarray) -> list[np.ndarray]:
        return [merged(found, grouping.of_cell) for grouping in groupings]

    point = [found[0] for found in in_groups(sums.once()[None])]
    batches = []
    for batch in sums.samples(n_resamples, rng):
        batches.append(in_groups(batch))
        progress(len(batch))
    nothing = [np.empty((0, *found.shape)) for found in point]
    samples = [np.concatenate(found) for found in zip(*batches, strict=True)] or nothing
    named = [
        [{name: found[..., k] for k, name in enumerate(names)} for found in kind]
        for kind in (point, samples)
    ]
    n_persons = [
        _n_persons(grouping.of_cell[cells.codes[has_age]], persons[has_age], len(grouping.keys))
        for grouping in groupings
    ]
    return Resampled(groupings, named[0], named[1], n_persons, confidence_level)


def _n_persons(groups: np.ndarray, persons: np.ndarray, n_groups: int) -> np.ndarray:
    pairs = pd.DataFrame({"group": groups, "person": persons}).drop_duplicates()
    return np.bincount(pairs["group"], minlength=n_groups)


def known_figures(values: Iterable[str]) -> list[Figure]:
    """The figures for which there are values."""
    names = set(values)
    return [figure for figure in FIGURES if figure.needs in names]


def overall_table(resampled: Resampled, columns: pd.DataFrame, min_count: int) -> pd.DataFrame:
    """All figures of all images.

    Returns
    -------
    table : DataFrame
        Indexed by the name of the figure, with the columns label, unit, value, low, high,
        and for rates value_all, low_all and high_all, in which images without a
        prediction count as failures; and definition.
    """
    i = resampled.index()
    point, samples = resampled.point[i], resampled.samples[i]
    rows = []
    for figure in known_figures(point):
        row = _row(figure.name, figure.label, figure.unit, figure.definition)
        row |= _estimate(resampled, figure.of(point)[0], figure.of(samples)[:, 0])
        if figure.of_all is not None:
            found = _estimate(resampled, figure.of_all(point)[0], figure.of_all(samples)[:, 0])
            row |= {f"{name}_all": value for name, value in found.items()}
        rows.append(row)
    rows += _averages(resampled, columns, min_count)
    return pd.DataFrame(rows).set_index("figure")


def _averages(resampled: Resampled, columns: pd.DataFrame, min_count: int) -> list[dict[str, Any]]:
    """Averages and maxima of the MAE over groups."""
    found = [
        (
            _row(
                "macro_mae",
                "MAE, averaged over years of age (AMAE)",
                "years",
                "Mean of the MAE of each year of true age, so that rare ages count as much as "
                "frequent ones (Baccianella et al., ISDA 2009).",
            ),
            *_mean_over(resampled, (YEAR,), lambda keys: np.ones(len(keys), dtype=bool)),
        )
    ]
    sex = sex_column(columns)
    if sex is not None:
        in_range = _nist_cells(resampled, sex)
        if in_range is not None:
            row = _row(
                "nist_mae",
                "MAE over sex and ages 18 to 30 (NIST)",
                "years",
                "Mean of the MAE of each sex at each of the ages 18 to 30, as in the tables of "
                "NIST's Face Analysis Technology Evaluation.",
            )
            found.append((row, *_mean_over(resampled, (sex, YEAR), lambda keys: in_range)))
    i = resampled.index(BAND)
    enough = resampled.point[i]["n"] >= min_count
    if enough.any():
        errors = [
            ratio(s["absolute"], s["n"])[..., enough]
            for s in (resampled.point[i], resampled.samples[i])
        ]
        worst = int(errors[0].argmax())
        name = resampled.groupings[i].keys[BAND][enough].iloc[worst]
        row = _row(
            "worst_band_mae",
            f"MAE of the worst band of age, {name}",
            "years",
            f"The largest MAE of a band of true age with at least {min_count} images.",
        )
        found.append((row, errors[0][worst], errors[1][:, worst]))
    return [row | _estimate(resampled, point, samples) for row, point, samples in found]


def _nist_cells(resampled: Resampled, sex: str) -> np.ndarray | None:
    """The cells of sex and age that NIST averages over, or None if some are empty."""
    i = resampled.index(sex, YEAR)
    keys, n = resampled.groupings[i].keys, resampled.point[i]["n"]
    in_range = (keys[YEAR].isin(NIST_AGES) & (n > 0) & (keys[sex] != "unknown")).to_numpy()
    n_sexes = keys[sex][in_range].nunique()
    is_complete = n_sexes == 2 and in_range.sum() == n_sexes * len(NIST_AGES)
    return in_range if is_complete else None


def _mean_over(
    resampled: Resampled, by: tuple[str, ...], select: Callable[[pd.DataFrame], np.ndarray]
) -> tuple[float, np.ndarray]:
    i = resampled.index(*by)
    chosen = select(resampled.groupings[i].keys) & (resampled.point[i]["n"] > 0)
    return tuple(  # type: ignore[return-value]
        mean_of_known(ratio(s["absolute"], s["n"])[..., chosen])
        for s in (resampled.point[i], resampled.samples[i])
    )


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN; NaN where all are."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))


def group_table(resampled: Resampled, i: int) -> pd.DataFrame:
    """The figures of each group of one grouping.

    Returns
    -------
    table : DataFrame
        The columns of the grouping; n_images, n_failed; and of each figure its value,
        and the bounds of its interval as name_low and name_high.
    """
    point, samples = resampled.point[i], resampled.samples[i]
    table = resampled.groupings[i].keys.copy()
    table["n_images"] = point["all"].astype(int)
    table["n_failed"] = (point["all"] - point["n"]).astype(int)
    for figure in known_figures(point):
        table[figure.name] = figure.of(point)
        low, high = resampled.group_intervals(figure.of(samples), i)
        table[f"{figure.name}_low"], table[f"{figure.name}_high"] = low, high
    return table


def gap_table(resampled: Resampled, min_count: int) -> pd.DataFrame:
    """The MAE of the worst and the best group of each grouping, and how far apart they are.

    Groups of fewer than `min_count` images are left out. The interval of the gap is that
    of the difference between these two groups; it is NaN if one is of a single person.

    Returns
    -------
    table : DataFrame
        One row for each grouping with two groups or more: by, worst, worst_mae, best,
        best_mae, gap, gap_low, gap_high, ratio, ratio_low, ratio_high.
    """
    rows = []
    for grouping, point, samples, n_persons in zip(
        resampled.groupings, resampled.point, resampled.samples, resampled.n_persons, strict=True
    ):
        enough = np.flatnonzero(point["n"] >= min_count)
        if not grouping.by or YEAR in grouping.by or len(enough) < 2:
            continue
        mae = ratio(point["absolute"], point["n"])
        worst, best = enough[mae[enough].argmax()], enough[mae[enough].argmin()]
        drawn = ratio(samples["absolute"], np.where(n_persons > 1, samples["n"], 0))
        gap = resampled.interval(drawn[:, worst] - drawn[:, best])
        proportion = resampled.interval(ratio(drawn[:, worst], drawn[:, best]))
        names = [", ".join(map(str, grouping.keys.iloc[group])) for group in (worst, best)]
        rows.append(
            {
                "by": grouping.name,
                "worst": names[0],
                "worst_mae": mae[worst],
                "best": names[1],
                "best_mae": mae[best],
                "gap": mae[worst] - mae[best],
                "gap_low": float(gap[0]),
                "gap_high": float(gap[1]),
                "ratio": float(ratio(mae[worst], mae[best])),
                "ratio_low": float(proportion[0]),
                "ratio_high": float(proportion[1]),
            }
        )
    return pd.DataFrame(rows)


def _row(name: str, label: str, unit: str, definition: str) -> dict[str, Any]:
    return {"figure": name, "label": label, "unit": unit, "definition": definition}


def _estimate(resampled: Resampled, point: Any, samples: np.ndarray) -> dict[str, float]:
    low, high = resampled.interval(samples)
    return {"value": float(point), "low": float(low), "high": float(high)}
