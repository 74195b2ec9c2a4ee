"""What is evaluated: the predictions of a model, of arrays, or of another tool's CSV."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from numbers import Real
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from .._files.paths import resolve_path
from .._unwrap import unreadable_images_skipped, unwrap
from ..binning import AgeBinner

# Names of columns that tools give to the file of an image and to its predicted age.
_PATHS = ("path", "file", "filename", "file_name", "image", "image_path", "img_path", "img")
_AGES = ("age", "predicted_age", "age_pred", "pred_age", "apparent_age", "y_pred", "prediction")
_MISSING = ("", "nan", "none", "null", "na", "<na>")


@dataclass(frozen=True)
class Predictions:
    """Predicted ages of images.

    Parameters
    ----------
    name : str
        What predicted them.
    ages : ndarray of shape (n_samples,)
        In years; NaN for images without a prediction.
    interval : ndarray of shape (n_samples, 2), default=None
        Lower and upper bounds in years.
    distribution : ndarray of shape (n_samples, n_bins), default=None
        Over the bins of `binner`.
    binner : AgeBinner, default=None
    """

    name: str
    ages: np.ndarray
    interval: np.ndarray | None = None
    distribution: np.ndarray | None = None
    binner: AgeBinner | None = None

    @property
    def has_age(self) -> np.ndarray:
        return np.isfinite(self.ages)


def as_predictions(given: Any, X: Any, n_samples: int, coverage: float) -> Predictions:
    """Return the predictions of a model, array, table or CSV, one for each image.

    Raises
    ------
    TypeError
        If `given` is of another kind, or a model that does not predict ages.
    ValueError
        If there is not one prediction for each image, an age is infinite, or images are
        needed and missing.
    """
    if hasattr(given, "predict") or hasattr(given, "fit"):
        return _of_model(given, X, coverage)
    if isinstance(given, str | os.PathLike):
        if os.fsdecode(given).endswith(".skage"):
            raise ValueError(f"{os.fsdecode(given)!r} is a model file. Pass skage.load of it.")
        given = read_predictions(given, X)
    if isinstance(given, pd.DataFrame):
        return _of_table(given, n_samples)
    ages = np.asarray(given)
    if ages.dtype == object:
        missing = pd.isna(ages)
        if all(isinstance(age, Real) for age in ages[~missing].tolist()):
            ages = np.where(missing, np.nan, ages).astype(float)
    if ages.dtype.kind not in "fiu":
        raise TypeError(
            f"Cannot evaluate a {type(given).__name__}. Pass a fitted model, an array of predicted "
            "ages in years (NaN where there is no prediction), a DataFrame with the column age, or "
            "the path of a CSV."
        )
    return Predictions("given ages", _check(ages.astype(float), n_samples))


def _of_model(model: Any, X: Any, coverage: float) -> Predictions:
    if X is None:
        raise ValueError("A model needs the images to predict. Pass them as X.")
    with warnings.catch_warnings(), unreadable_images_skipped(model):
        # They are counted in the evaluation.
        warnings.filterwarnings("ignore", r"\d+ of \d+ images .* get NaN")
        inner, images = unwrap(model, X)
        name = type(inner).__name__
        if not hasattr(inner, "predict_dist"):
            ages = np.asarray(inner.predict(images))
            if ages.dtype.kind not in "fiu":
                raise TypeError(
                    f"{name} predicts, for example, {ages.flat[0]!s}, which is not an age. Pass a "
                    "model that predicts ages in years."
                )
            return Predictions(name, _check(ages.astype(float), len(X)))
        distribution = np.asarray(inner.predict_dist(images))
    return Predictions(
        name,
        _check(inner.decode_dist(distribution).astype(float), len(X)),
        inner.decode_interval(distribution, coverage).astype(float),
        distribution,
        inner.binner_,
    )


def _of_table(table: pd.DataFrame, n_samples: int) -> Predictions:
    if "age" not in table:
        raise ValueError(
            f"The table of predictions has no column 'age'; it has {_listed(table.columns)}. "
            "Rename the column of predicted ages."
        )
    bounds = [name for name in ("low", "high") if name in table]
    if len(bounds) == 1:
        raise ValueError(
            f"The table of predictions has the column {bounds[0]!r} alone. An interval needs both "
            "low and high."
        )
    ages = _check(_numbers(table["age"], "age"), n_samples)
    interval = None
    if bounds:
        interval = np.column_stack([_numbers(table[name], name) for name in bounds])
        wrong = np.isfinite(ages) & ~(interval[:, 0] <= interval[:, 1])
        if wrong.any():
            first = int(np.argmax(wrong))
            raise ValueError(
                f"Row {first} of the predictions has the age {ages[first]:g} and the interval "
                f"{interval[first].tolist()}. Pass bounds with low <= high for each age."
            )
    name = table.attrs.get("name", "given table")
    return Predictions(name, ages, interval)


def read_predictions(
    csv: str | os.PathLike, X: Sequence[Any], *, path: str | None = None, age: str | None = None
) -> pd.DataFrame:
    """Read the ages that a tool predicted from a CSV, in the order of the images.

    Parameters
    ----------
    csv : path
        A CSV in UTF-8 with a header, such as ``python -m skage predict`` or another tool
        writes. The delimiter (comma, semicolon or tab) is detected; numbers may have a
        decimal comma if it is a semicolon. Columns named low and high are read as bounds of
        an interval, and std as a standard deviation. An empty age is an image without a prediction.
    X : sequence of n_samples paths
        The images. A row belongs to the image whose path ends in the same parts, so that
        file names are enough if they are different. Of several rows that would belong to an
        image, the one with the most parts in common does.
    path, age : str, default=None
        Columns of the images' paths and of the predicted ages in years. None takes the
        one column with a usual name, such as file or predicted_age.

    Returns
    -------
    predictions : DataFrame
        One row for each image, with the column age, and low, high and std if the CSV has
        them; NaN for images that the CSV does not list.

    Raises
    ------
    ValueError
        If the columns cannot be found, an age is not a number, or a row belongs to several
        images or an image to several rows.
    FileNotFoundError
        If the CSV does not exist.

    Warns
    -----
    UserWarning
        If images are not listed. Rows that belong to no image are ignored.
    """
    if X is None or not len(X):
        raise ValueError(
            "The rows of a CSV are assigned by path. Pass the paths of the images as X."
        )
    file = resolve_path(csv, "csv")
    table, has_decimal_commas = _table(file)
    columns = {
        "path": _column(table, path, _PATHS, "path", file),
        "age": _column(table, age, _AGES, "age", file),
    } | {name: name for name in ("low", "high", "std") if name in table}
    found = {
        name: _numbers(table[column], f"Column {column!r} of {file!r}", has_decimal_commas)
        for name, column in columns.items()
        if name != "path"
    }
    rows = _match(table[columns["path"]].tolist(), [_path(item, i) for i, item in enumerate(X)])
    listed = rows >= 0
    if not listed.all():
        warnings.warn(
            f"{(~listed).sum():,} of {len(rows):,} images are not listed in {file!r}. They count "
            "as images without a prediction.",
            stacklevel=2,
        )
    predictions = pd.DataFrame(
        {name: np.where(listed, values[rows], np.nan) for name, values in found.items()}
    )
    predictions.attrs["name"] = PurePath(file).name
    return predictions


def _table(file: str) -> tuple[pd.DataFrame, bool]:
    """Return the cells of a CSV as text, and whether numbers may have decimal commas."""
    try:
        with open(file, encoding="utf-8-sig") as opened:
            first_line = next((line for line in opened if line.strip()), "")
        delimiter = max(",;\t", key=first_line.count)
        # The header is read as a row, since pandas would otherwise rename columns of one name,
        # and shift those of rows with more cells than the header.
        table = pd.read_csv(
            file,
            sep=delimiter,
            header=None,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
        ).fillna("")
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(
            f"{file!r} is not a CSV in UTF-8 with a header: {str(error).strip()}. Save it as CSV "
            "with UTF-8 encoding, with as many cells in each row as in the header and quotes "
            "around text that contains the delimiter."
        ) from error
    table.columns = table.iloc[0].tolist()
    twice = table.columns[table.columns.duplicated() & (table.columns != "")]
    if len(twice):
        raise ValueError(f"{file!r} has two columns named {twice[0]!r}. Rename one of them.")
    if len(table) == 1:
        raise ValueError(f"{file!r} has a header but no rows. Add a row for each image.")
    return table.iloc[1:].reset_index(drop=True), delimiter == ";"


def _column(
    table: pd.DataFrame, given: str | None, usual: Sequence[str], what: str, file: str
) -> str:
    if given is not None:
        if given not in table:
            raise ValueError(
                f"{file!r} has no column {given!r}; it has {_listed(table.columns)}. Name "
                f"one of them with {what}=, or --predicted-{what} on the command line."
            )
        return given
    found = [column for column in table if str(column).strip().lower() in usual]
    if len(found) == 1:
        return found[0]
    those = f"several that may be: {_listed(found)}" if found else _listed(table.columns)
    raise ValueError(
        f"Which column of {file!r} is the {what} is not clear; it has {those}. Name it with "
        f"read_predictions(..., {what}='...'), or --predicted-{what} on the command line."
    )


def _match(named: list[str], images: list[str]) -> np.ndarray:
    """Return the row of each image, -1 if it is not listed."""
    parts = [_parts(name.replace("\\", "/")) for name in named]
    own = [_parts(name) for name in images]
    ends = _different_ends(own)
    depth = max(map(len, ends))
    position = {end: i for i, end in enumerate(ends)}
    shorter = {end[-n:] for end in ends for n in range(1, depth)}
    rows, n_common = np.full(len(images), -1), np.zeros(len(images), dtype=int)
    rivals: dict[int, int] = {}
    for row, path in enumerate(parts):
        i = position.get(path[-depth:])
        if i is None:
            if path in shorter:
                raise ValueError(
                    f"Row {row} of the CSV names {named[row]!r}, but several images of X have this "
                    f"name. Give the last {depth} parts of the paths."
                )
            continue
        n = _n_common(path, own[i])
        if n > n_common[i]:
            rows[i], n_common[i] = row, n
            rivals.pop(i, None)
        elif n == n_common[i]:
            rivals.setdefault(i, row)
    for i, row in rivals.items():
        raise ValueError(
            f"Rows {rows[i]} and {row} of the CSV both belong to {images[i]!r}. Keep one row "
            "for each image, for example that of its largest face."
        )
    if (rows < 0).all():
        raise ValueError(
            f"None of the {len(named)} rows of the CSV belongs to one of the {len(images)} images: "
            f"it names, for example, {named[0] if named else ''!r}, and X {images[0]!r}."
        )
    return rows


def _different_ends(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The last parts of each path, as few as tell them all apart."""
    for depth in range(1, max(map(len, paths)) + 1):
        ends = [path[-depth:] for path in paths]
        if len(set(ends)) == len(ends):
            return ends
    twice = os.path.join(*Counter(paths).most_common(1)[0][0])
    raise ValueError(f"X lists {twice!r} twice, so a row of the CSV cannot be assigned to it.")


def _parts(path: str) -> tuple[str, ...]:
    return PurePath(unicodedata.normalize("NFC", path)).parts


def _n_common(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """The number of parts at the ends of two paths that are the same."""
    pairs = zip(reversed(a), reversed(b), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _path(item: Any, position: int) -> str:
    if not isinstance(item, str | os.PathLike):
        raise ValueError(
            f"X[{position}] is a {type(item).__name__}, but the rows of a CSV are assigned by "
            "path. Pass the paths of the images as X."
        )
    return os.fsdecode(item)


def _numbers(values: Any, name: str, has_decimal_commas: bool = False) -> np.ndarray:
    series = pd.Series(values)
    if series.dtype.kind in "fiu":
        return series.to_numpy(float, na_value=np.nan)
    text = series.astype(str).str.strip()
    if has_decimal_commas:
        text = text.str.replace(",", ".")
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(float)
    wrong = np.isnan(numbers) & ~text.str.lower().isin(_MISSING).to_numpy()
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"{name} has {text.iloc[first]!r} in row {first}, which is not a number. Leave it "
            "empty for an image without a prediction."
        )
    return numbers


def _check(ages: np.ndarray, n_samples: int) -> np.ndarray:
    if ages.shape == (n_samples, 1):
        ages = ages[:, 0]
    if ages.shape != (n_samples,):
        raise ValueError(
            f"There are predictions of shape {ages.shape} for {n_samples} images. Pass one age for "
            "each image, NaN where there is no prediction."
        )
    if np.isinf(ages).any():
        first = int(np.argmax(np.isinf(ages)))
        raise ValueError(
            f"The predicted age of image {first} is {ages[first]}. Pass NaN for an image without a "
            "prediction."
        )
    if not np.isfinite(ages).any():
        raise ValueError(f"None of the {n_samples} images has a prediction.")
    return ages


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names))
