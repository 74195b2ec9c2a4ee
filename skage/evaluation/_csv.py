"""Predictions in a CSV: its columns, its numbers, and the image that each row belongs to."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from .._files.paths import resolve_path
from ..datasets._table import find_delimiter

# Names of columns that tools give to the file of an image and to its predicted age.
_PATHS = ("path", "file", "filename", "file_name", "image", "image_path", "img_path", "img")
_AGES = ("age", "predicted_age", "age_pred", "pred_age", "apparent_age", "y_pred", "prediction")
_MISSING = ("", "nan", "none", "null", "na", "<na>")


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
        name: numbers_of(table[column], f"Column {column!r} of {file!r}", has_decimal_commas)
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
        delimiter = find_delimiter(first_line, set())
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
                f"{file!r} has no column {given!r}; it has {listed(table.columns)}. Name "
                f"one of them with {what}=, or --predicted-{what} on the command line."
            )
        return given
    found = [column for column in table if str(column).strip().lower() in usual]
    if len(found) == 1:
        return found[0]
    those = f"several that may be: {listed(found)}" if found else listed(table.columns)
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


def numbers_of(values: Any, name: str, has_decimal_commas: bool = False) -> np.ndarray:
    """Return a column as numbers, NaN where it is empty.

    Raises
    ------
    ValueError
        If a value is neither a number nor a usual way to write that there is none.
    """
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


def listed(names: Any) -> str:
    """Names in quotes, for a message."""
    return ", ".join(map(repr, names))
