"""The user's own images, listed in a CSV."""

from __future__ import annotations

import os
import unicodedata
from csv import Error as CSVError
from csv import reader
from pathlib import Path

import pandas as pd
from sklearn.utils import Bunch

from .._files.paths import resolve_path
from .._sklearn import StrOptions, validate_params
from ._rows import Rows, key, keys, to_bunch

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_PARAMETERS = {
    "path": "path=",
    "age": "age=",
    "person": "group=",
    "age_std": "age_std=",
}
_DECIMAL_COMMA = r"^\s*(-?\d+),(\d+)\s*$"
# A number with leading zeros, or with more digits than a float can represent.
_CODE = r"[-+]?(?:0\d|\d{16})"


@validate_params({"on_error": [StrOptions({"raise", "skip"})]}, prefer_skip_nested_validation=True)
def load_table(
    csv: str | os.PathLike,
    *,
    path: str = "path",
    age: str = "age",
    group: str | None = None,
    age_std: str | None = None,
    on_error: str = "raise",
) -> Bunch:
    """Load the images listed in a CSV.

    Parameters
    ----------
    csv : path
        A CSV in UTF-8 with a header. The delimiter (comma, semicolon or tab) is detected
        from the header. With semicolons, ages may have decimal commas.

    path : str, default="path"
        Column of the images' paths, relative to the CSV's folder. If a file does not exist,
        its path is also tried without surrounding whitespace and with the other Unicode
        encoding of accents.

    age : str, default="age"
        Column of the ages in years, from 0 to 120.

    group : str, default=None
        Column of the person; each row in which it is empty counts as another person. If
        None, only identical files share a group. Names are compared as text, without regard
        to surrounding whitespace or to how accents are encoded; upper and lower case
        differ, and "7", "7.0" and "007" are three persons.

    age_std : str, default=None
        Column of the standard deviations of apparent ages, in years.

    on_error : {"raise", "skip"}, default="raise"
        How to handle a row whose path, age, age_std or file is missing or unusable:
        raise an error, or leave it out and count it in `dropped`.

    Returns
    -------
    table : Bunch
        As `skage.datasets` describes it. If `age_std` is given it also has target_std,
        ndarray of shape (n_samples,), in years. The frame has all columns of the CSV,
        their text stripped of surrounding whitespace; path, age, content and, if given,
        person and age_std replace columns of these names.

    Raises
    ------
    ValueError
        If a column is missing or occurs twice, a row is unusable (the message names its
        line and value), or no row is left.
    FileNotFoundError
        If the CSV does not exist.
    """
    file = Path(resolve_path(csv, "csv"))
    named = {"path": path, "age": age, "person": group, "age_std": age_std}
    wanted = {name: column for name, column in named.items() if column is not None}
    try:
        rows = read_rows(file, wanted, on_error)
    except (UnicodeDecodeError, CSVError) as error:
        raise ValueError(
            f"{file} is not a CSV in UTF-8: {error}. Save it as CSV with UTF-8 encoding."
        ) from error
    others = [column for column in rows.frame if column not in wanted]
    rows.frame = rows.frame.assign(**{c: _numbers(rows.frame[c]) for c in others})
    if group is not None:
        rows.frame = rows.frame.assign(person=keys(rows.frame["person"]))
        rows.has_persons = True
    rows.has_std = age_std is not None
    return to_bunch(rows, f"The table {file}.\n")


def read_rows(file: Path, wanted: dict[str, str], on_error: str = "raise") -> Rows:
    """Read the rows of a CSV as text, indexed by line number.

    `wanted` maps the names path, age, person and age_std to the CSV's columns; those
    columns are checked, and paths are joined to the CSV's folder.
    """
    wanted = {name: key(column) for name, column in wanted.items()}
    with open(file, newline="", encoding="utf-8-sig") as opened:
        first_line = next((line for line in opened if line.strip()), "")
        delimiter = find_delimiter(first_line, {*wanted.values()})
        opened.seek(0)
        cells = reader(opened, delimiter=delimiter)
        header = [key(column) for column in next((row for row in cells if row), [])]
        if twice := [column for column in header if column and header.count(column) > 1]:
            raise ValueError(f"{file} has two columns named {twice[0]!r}. Rename one of them.")
        if lacking := {name: column for name, column in wanted.items() if column not in header}:
            raise ValueError(_missing_columns(file, lacking, header, delimiter))
        found = [(cells.line_num, row) for row in cells if row]
    if not found:
        raise ValueError(f"{file} has a header but no rows. Add a row for each image.")
    n_columns = len(header)
    frame = pd.DataFrame(
        [row[:n_columns] + [""] * (n_columns - len(row)) for _, row in found],
        index=[line for line, _ in found],
        columns=header,
        dtype=object,
    )
    columns = {name: frame[column] for name, column in wanted.items()}
    if delimiter == ";":  # spreadsheets write this where the decimal point is a comma
        for name in columns.keys() & {"age", "age_std"}:
            columns[name] = columns[name].str.replace(_DECIMAL_COMMA, r"\1.\2", regex=True)
    rows = Rows(frame.assign(**columns), strict=str(file) if on_error == "raise" else None)
    too_long = [any(cell.strip() for cell in row[n_columns:]) for _, row in found]
    rows.drop(
        too_long,
        f"path is in a row of more cells than the header's {n_columns}: put quotes around text "
        f"that contains {_DELIMITERS[delimiter]}",
    )
    rows.drop(rows.frame["path"].str.strip() == "", "path is missing")
    if "age" in wanted:
        rows.ages()
    paths = [_on_disk(file.parent, path) for path in rows.frame["path"]]
    rows.frame = rows.frame.assign(path=paths)
    return rows


def find_delimiter(first_line: str, wanted: set[str]) -> str:
    """Return the delimiter that yields most of the wanted columns, or most columns."""

    def n_columns(delimiter: str) -> tuple[int, int]:
        columns = next(reader([first_line], delimiter=delimiter), [])
        return len(wanted & {key(column) for column in columns}), len(columns)

    return max(_DELIMITERS, key=n_columns)


def _missing_columns(file: Path, lacking: dict[str, str], header: list[str], delimiter: str) -> str:
    has = ", ".join(map(repr, header)) or "none"
    if len(header) > 1:
        has += f", separated by {_DELIMITERS[delimiter]}"
    elif header:
        has += ", as its first line has no comma, semicolon or tab"
    return (
        f"{file} has no column {' or '.join(map(repr, lacking.values()))}; its columns are {has}. "
        f"Name the right one with {' and '.join(_PARAMETERS[name] for name in lacking)}."
    )


def _on_disk(folder: Path, name: str) -> str:
    """Return the path of a file listed in a table, trying likely variants of its name."""
    meant = name.strip()
    forms = (unicodedata.normalize(form, meant) for form in ("NFC", "NFD"))
    for candidate in (name, meant, *forms, os.path.expanduser(meant)):
        path = os.fspath(folder / candidate)
        if os.path.exists(path):
            return path
    return os.fspath(folder / meant)


def _numbers(texts: pd.Series) -> pd.Series:
    """Convert a column to numbers if all of it is numeric and no cell looks like a code.

    Empty cells become missing values.
    """
    texts = keys(texts)
    numbers = pd.to_numeric(texts, errors="coerce")
    are = texts.isna() | (numbers.notna() & ~texts.fillna("").str.match(_CODE))
    return numbers if are.all() else texts
