"""The user's own images in a folder, with ages in the file names."""

from __future__ import annotations

import os
import re
from typing import Any

import pandas as pd
from sklearn.utils import Bunch

from .._images.reading import has_image_suffix
from ._rows import Rows, check_folder, files, key, to_bunch, unexpected_folder


def load_folder(folder: Any, *, pattern: str) -> Bunch:
    r"""Load a folder of images whose paths contain the ages.

    Parameters
    ----------
    folder : path
        Contains images, at any depth.
    pattern : str
        Regular expression to search for in each image's path relative to the folder.
        It needs a group "age", in years, for example ``r"_(?P<age>\d+)y"``. A group
        "person" names the person; other groups become columns of the frame.

    Returns
    -------
    images : Bunch
        As `skage.datasets` describes it.

    Raises
    ------
    ValueError
        If the folder does not exist, the pattern is not valid or has no group "age", or
        no image's path matches it.
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
    found: list[dict[str, Any]] = []
    n_others = 0
    for path in files(root):
        if not has_image_suffix(path):
            continue
        if match := compiled.search(path.relative_to(root).as_posix()):
            fields = {name: text and key(text) for name, text in match.groupdict().items()}
            found.append({"path": os.fspath(path), **fields})
        else:
            n_others += 1
    if not found:
        raise unexpected_folder(root, f"image whose path matches {pattern!r}")
    dropped = {f"path does not match {pattern!r}": n_others} if n_others else {}
    rows = Rows(pd.DataFrame(found), dropped, has_persons="person" in compiled.groupindex)
    return to_bunch(rows, f"The folder {root}.\n")
