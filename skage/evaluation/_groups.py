"""Groups of images: by age, by columns of the user, and by their crossings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length

from ._figures import FIGURES

BAND = "age band"
YEAR = "age"
_MAX_CATEGORIES = 50
_SEX = ("sex", "gender")
_UNKNOWN = "unknown"
# Columns of the tables that are made, beside those of `by`.
_TAKEN = {
    *(BAND, YEAR, "n_images", "n_failed", "true", "predicted", "error", "low", "high", "pit"),
    *("calibration_error", "mae_a", "mae_b", "difference"),
    *(figure.name + end for figure in FIGURES for end in ("", "_low", "_high")),
}


@dataclass(frozen=True)
class Grouping:
    """Groups of images that have the same values in some columns.

    Parameters
    ----------
    by : tuple of str
        The columns; none for the group of all images.
    keys : DataFrame
        The columns' values, one row for each group.
    of_cell : ndarray of shape (n_cells,), int
        The group of each cell.
    """

    by: tuple[str, ...]
    keys: pd.DataFrame
    of_cell: np.ndarray

    @property
    def name(self) -> str:
        return " x ".join(self.by) or "all"


class Cells:
    """The finest cells of images: one year of age, and one value of each column.

    Parameters
    ----------
    ages : ndarray of shape (n_samples,)
        In years.
    columns : DataFrame
        As `group_columns` returns it.
    bands : sequence of float
        Lower ends of the bands of age, in years.

    Attributes
    ----------
    codes : ndarray of shape (n_samples,), int
        The cell of each image.
    keys : DataFrame
        Year of age, band of age and columns of each cell.
    """

    def __init__(self, ages: np.ndarray, columns: pd.DataFrame, bands: Sequence[float]):
        frame = columns.assign(**{YEAR: np.floor(ages).astype(int), BAND: band_of(ages, bands)})
        grouped = frame.groupby(list(frame.columns), observed=True, sort=True)
        self.codes = grouped.ngroup().to_numpy()
        first = np.unique(self.codes, return_index=True)[1]
        self.keys = frame.iloc[first].reset_index(drop=True)

    def grouping(self, *by: str) -> Grouping:
        """The groups by these columns."""
        if not by:
            return Grouping((), pd.DataFrame(index=[0]), np.zeros(len(self.keys), dtype=int))
        grouped = self.keys.groupby(list(by), observed=True, sort=True)
        of_cell = grouped.ngroup().to_numpy()
        first = np.unique(of_cell, return_index=True)[1]
        return Grouping(by, self.keys.iloc[first][list(by)].reset_index(drop=True), of_cell)

    def shown(self) -> list[Grouping]:
        """Groupings by band of age, by each column, and by two of these."""
        names = [BAND, *(name for name in self.keys if name not in (BAND, YEAR))]
        single = [self.grouping(name) for name in names]
        return single + [self.grouping(*pair) for pair in combinations(names, 2)]


def group_columns(by: Any, n_samples: int) -> pd.DataFrame:
    """Return columns of categories, one row for each image.

    Raises
    ------
    ValueError
        If the lengths differ, a column has too many values, or its name is taken.
    """
    if by is None:
        return pd.DataFrame(index=range(n_samples))
    if isinstance(by, pd.Series):
        by = by.to_frame(by.name or "group")
    if not isinstance(by, dict | pd.DataFrame):
        raise ValueError(
            f"by={type(by).__name__} is not valid. Pass a DataFrame or dict of columns, such as "
            "by={'sex': sex}."
        )
    frame = pd.DataFrame(index=range(n_samples))
    for name, values in dict(by).items():
        if str(name) in _TAKEN or " x " in str(name):
            raise ValueError(
                f"The column {name!r} of by has a name that the tables of the result use for "
                "something else. Leave it out, or rename it."
            )
        check_consistent_length(values, frame)
        shape = np.asarray(values, dtype=object).shape
        if len(shape) != 1:
            raise ValueError(
                f"The column {name!r} of by has the shape {shape}. Pass one value for each image, "
                "and each name once."
            )
        frame[str(name)] = _categories(values)
        n_values = len(frame[str(name)].cat.categories)
        if n_values > _MAX_CATEGORIES:
            raise ValueError(
                f"The column {name!r} has {n_values} values, more than {_MAX_CATEGORIES}. Cut it "
                "into classes, for example with pandas.cut."
            )
    return frame


def _categories(values: Any) -> pd.Series:
    """Values as text, in the order of the values or of the classes of pandas.cut."""
    ordered = pd.Series(values).astype("category").cat.categories
    names = dict.fromkeys([*map(_plain, ordered), _UNKNOWN])
    found = pd.Series(np.asarray(values, dtype=object), dtype=object)
    text = found.where(found.notna() & (found != ""), _UNKNOWN).map(_plain)
    return text.astype(pd.CategoricalDtype(list(names))).cat.remove_unused_categories()


def sex_column(columns: pd.DataFrame) -> str | None:
    """The column that tells the sex, if there is one."""
    return next((name for name in columns if name.lower() in _SEX), None)


def band_of(ages: np.ndarray, bands: Sequence[float]) -> pd.Categorical:
    """The band of each age, named as 20-29; the last has no upper end."""
    edges = np.asarray(bands, dtype=float)
    names = [_band_name(low, high) for low, high in pairwise(edges)] + [f"{edges[-1]:g}+"]
    if ages.min() < edges[0]:
        names.insert(0, f"below {edges[0]:g}")
        edges = np.concatenate([[-np.inf], edges])
    codes = np.searchsorted(edges, ages, side="right") - 1
    return pd.Categorical.from_codes(codes, names, ordered=True)


def _band_name(low: float, high: float) -> str:
    if not (low.is_integer() and high.is_integer()):
        return f"{low:g} to below {high:g}"
    return f"{low:g}-{high - 1:g}" if high - low > 1 else f"{low:g}"


def _plain(value: Any) -> str:
    """A category as text; whole numbers without decimals."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)
