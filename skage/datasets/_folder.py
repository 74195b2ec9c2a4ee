"""The user's own images in a folder, with ages in the file names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.utils import Bunch

from .._checks import OLDEST
from .._images.reading import has_image_suffix
from ._rows import check_folder, read_names, to_bunch, unexpected_folder


def load_folder(folder: Any, *, pattern: str) -> Bunch:
    r"""Load a folder of images whose paths contain the ages.

    Parameters
    ----------
    folder : path
        Contains images, at any depth.
    pattern : str
        Regular expression to search for in each image's path relative to the folder.
        It needs a group "age", in years, for example ``r"_(?P<age>\d+)y"``. A group
        "person" names the person; other groups become columns of the frame. Hidden
        files, whose names begin with a dot, are passed over.

    Returns
    -------
    images : Bunch
        As `skage.datasets` describes it.

    Raises
    ------
    ValueError
        If the folder does not exist, the pattern is not valid or has no group "age", no
        image's path matches it, or the group matches no age.
    """
    root = check_folder(folder)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"pattern={pattern!r} is not a regular expression: {error}. Write it, for "
            r"example, as '_(?P<age>\d+)y'."
        ) from error
    if "age" not in compiled.groupindex:
        raise ValueError(
            rf"pattern={pattern!r} has no group named age. Add one, for example "
            r"'_(?P<age>\d+)y'."
        )

    def match(path: Path) -> re.Match | None:
        is_image = has_image_suffix(path)
        return compiled.search(path.relative_to(root).as_posix()) if is_image else None

    rows = read_names(root, match, f"path does not match {pattern!r}")
    if rows.frame.empty:
        raise unexpected_folder(root, f"image whose path matches {pattern!r}")
    ages = pd.to_numeric(rows.frame["age"], errors="coerce")
    if not ages.between(0, OLDEST).any():
        first = rows.frame.iloc[0]
        raise ValueError(
            f"pattern={pattern!r} finds the age {first['age']!r} in "
            f"{os.path.relpath(first['path'], root)!r}, which is not a number from 0 to {OLDEST}. "
            r"Let the group match only the age in years, as in '_(?P<age>\d+)y'."
        )
    return to_bunch(rows, f"The folder {root}.\n")
