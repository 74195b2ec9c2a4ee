"""CACD: photographs of celebrities over ten years."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from ._published import read_struct, texts
from ._rows import add_table, check_folder, find, read_file_names, to_bunch

_COLUMNS = ("identity", "year", "birth", "rank", "lfw")
_DESCR = """Cross-Age Celebrity Dataset, CACD2000 (https://bcsiriuschen.github.io/CARC/):
163,446 images of 2,000 celebrities at ages 14 to 62, found by name and year.

Citation: Chen, Chen and Hsu, "Cross-Age Reference Coding for Age-Invariant Face
Recognition and Retrieval", ECCV 2014.
Licence: see its page; the images belong to their owners.
Ages: the year given to the search engine minus the year of birth, so they are noisy,
and some images show someone else.
"""


def load_cacd(folder: str | os.PathLike) -> Bunch:
    """Load CACD2000 from its folder.

    Parameters
    ----------
    folder : path
        Contains files such as ``14_Aaron_Johnson_0001.jpg`` (age, name, number), at any
        depth. ``celebrity2000_meta.mat`` is read if it is in the folder or at most two
        levels down.

    Returns
    -------
    cacd : Bunch
        As `skage.datasets` describes it. The frame has person (the name) and, with the
        .mat file, identity, year (of the photograph), birth (year), rank (among those
        born in that year), lfw, and split: "valid" for ranks 1 and 2, "test" for 3 to
        5, "train" for the rest.

    Raises
    ------
    ValueError
        If the folder does not exist, no file in it has such a name, or the .mat file does
        not have the expected format.
    """
    rows = read_file_names(
        folder,
        r"(?P<age>\d{1,3})_(?P<person>[^/]+)_\d{4}\.jpg",
        "[age]_[name]_[number].jpg",
        "CACD",
        "14_Aaron_Johnson_0001.jpg",
    )
    for path in find(check_folder(folder), r"celebrity2000_meta\.mat")[:1]:
        images = read_struct(path, "celebrityImageData", ("name", *_COLUMNS), "CACD")
        table = pd.DataFrame(
            {
                "file": texts(images["name"]),
                **{column: images[column].ravel() for column in _COLUMNS},
            }
        )
        table["split"] = np.select(
            [table["rank"] <= 2, table["rank"] <= 5], ["valid", "test"], "train"
        )
        add_table(rows, table)
    return to_bunch(rows, _DESCR)
