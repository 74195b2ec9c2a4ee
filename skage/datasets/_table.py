"""One's own images, in a CSV."""

from __future__ import annotations

import os
from collections.abc import Sequence
from csv import DictReader
from csv import Error as CSVError
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.utils._param_validation import StrOptions, validate_params

from ._rows import Rows, to_bunch

# Leading zeros, or more digits than a float holds.
_CODE = r"\s*[-+]?(?:0\d|\d{16})"


@validate_params({"on_error": [StrOptions({"raise", "skip"})]}, prefer_skip_nested_validation=True)
def load_table(csv, *, path="path", age="age", group=None, age_std=None, on_error="raise"):
    """Load images that a CSV lists.

    Parameters
    ----------
    csv : path
        A CSV in UTF-8 with a header.

    path : str, default="path"
        The column of the images' paths, relative to the CSV's folder.

    age : str, default="age"
        The column of ages in years, from 0 to 120.

    group : str, default=None
        The column of the person; rows where it is empty are persons of their own.
        A name means the same person in all CSVs of a folder. None: only identical
        files share a group.

    age_std : str, default=None
        The column of the ages' standard deviations in years, for apparent ages.

    on_error : {"raise", "skip"}, default="raise"
        What a row does whose path, age, age_std or file is missing or unusable:
        raise, or be left out and counted in `dropped`.

    Returns
    -------
    table : Bunch
        As `skage.datasets` describes it, and target_std : ndarray of shape
        (n_samples,) if `age_std` is given. The frame has all columns of the CSV;
        path, age, content and, if they are given, person and age_std replace any
        of those names.

    Raises
    ------
    ValueError
        If a column is missing or stands twice, a row is bad (the message names its
        line and value), or no row is left.
    """
    file = Path(csv)
    named = {"path": path, "age": age, "person": group, "age_std": age_std}
    wanted = {name: column for name, column in named.items() if column is not None}
    try:
        rows = read_rows(file, wanted, on_error)
    except (UnicodeDecodeError, CSVError) as error:
        raise ValueError(f"{file} is no CSV in UTF-8: {error}.") from error
    others = [column for column in rows.frame if column not in wanted]
    rows.frame = rows.frame.assign(**{c: _numbers(rows.frame[c]) for c in others})
    if group is not None:
        person = rows.frame["person"]
        rows.frame = rows.frame.assign(person=person.where(person.str.strip() != "", None))
        rows.persons_of = os.path.abspath(file.parent)
    rows.has_std = age_std is not None
    return to_bunch(rows, f"The table {file}.\n")


def read_rows(file: Path, wanted: dict[str, str], on_error: str = "raise") -> Rows:
    """The rows of a CSV as text, indexed by line, with checked columns as `wanted`
    names them; the paths are joined to the CSV's folder."""
    with open(file, newline="", encoding="utf-8-sig") as opened:
        reader = DictReader(opened, restval="")
        header: Sequence[Any] = reader.fieldnames or ()
        if twice := [column for column in header if header.count(column) > 1]:
            raise ValueError(f"{file} has two columns named {twice[0]!r}.")
        for column in wanted.values():
            if column not in header:
                has = ", ".join(header) or "none"
                raise ValueError(f"{file} has no column {column!r}; its columns are {has}.")
        found = [(reader.line_num, row) for row in reader]
    if not found:
        raise ValueError(f"{file} has a header but no rows.")
    lines, texts = zip(*found, strict=True)
    frame = pd.DataFrame(texts, index=list(lines), columns=list(header), dtype=object)
    columns = {name: frame[column] for name, column in wanted.items()}
    rows = Rows(frame.assign(**columns), strict=str(file) if on_error == "raise" else None)
    rows.drop(rows.frame["path"] == "", "path is missing")
    if "age" in wanted:
        rows.numbers("age")
    paths = [os.fspath(file.parent / path) for path in rows.frame["path"]]
    rows.frame = rows.frame.assign(path=paths)
    return rows


def _numbers(texts: pd.Series) -> pd.Series:
    """As numbers if all are, else as they are, as codes are; empty is missing."""
    numbers = pd.to_numeric(texts, errors="coerce")
    are = (texts == "") | (numbers.notna() & ~texts.str.match(_CODE))
    return numbers if are.all() else texts.where(texts != "", None)
