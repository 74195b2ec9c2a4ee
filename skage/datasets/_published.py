"""Read the tables that come with datasets, and check that they are complete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.io import loadmat

from ._rows import key, keys


def read_columns(path: Path, needed: Sequence[str], title: str) -> pd.DataFrame:
    """Read a CSV that has the `needed` columns, with its text normalised.

    The first needed column is the image's name and always text.
    """
    try:
        table = pd.read_csv(path, index_col=False, dtype={needed[0]: str})
    except ValueError as error:  # pandas' own errors are subclasses
        raise ValueError(f"{path} is not a table of {title}: {error}") from error
    table = table.rename(columns=key)
    _check(path, needed, table, title)
    if table.empty:
        raise ValueError(f"{path} is not a table of {title}: it has a header but no rows.")
    texts = {name: keys(table[name]) for name in table if table[name].dtype.kind not in "biuf"}
    return table.assign(**texts | {needed[0]: keys(table[needed[0]]).fillna("")})


def texts(cells: Any) -> list[str]:
    """Return the normalised strings of a column of a .mat file; "" for an empty cell."""
    return [key(cell[0]) if np.size(cell) else "" for cell in np.ravel(cells)]


def read_struct(path: Path, name: str, needed: Sequence[str], title: str) -> Any:
    """Read a struct with the `needed` fields from a .mat file."""
    try:
        variables = loadmat(path)
    except Exception as error:  # SciPy raises many types, some of them plain Exception
        raise ValueError(f"{path} is not a table of {title}: {error}") from error
    _check(path, [name], [found for found in variables if found[:2] != "__"], title)
    struct = np.ravel(variables[name])[:1]
    _check(path, needed, (struct.dtype.names if len(struct) else None) or (), title)
    return struct[0]


def _check(path: Path, needed: Iterable[str], found: Iterable[str], title: str) -> None:
    found = list(found)
    if lacking := [name for name in needed if name not in found]:
        raise ValueError(
            f"{path} is not a table of {title}: it lacks {', '.join(lacking)}; "
            f"it has {', '.join(map(str, found)) or 'nothing'}. Download it again."
        )
