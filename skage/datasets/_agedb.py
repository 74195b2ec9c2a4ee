"""AgeDB: photographs of well-known people, dated by hand."""

from __future__ import annotations

import os

from sklearn.utils import Bunch

from ._rows import read_file_names, to_bunch

_DESCR = """AgeDB (https://ibug.doc.ic.ac.uk/resources/agedb/): 16,488 photographs of 568
well-known people at ages 1 to 101.

Citation: Moschoglou, Papaioannou, Sagonas, Deng, Kotsia and Zafeiriou, "AgeDB: the
first manually collected, in-the-wild age database", CVPR Workshops 2017.
Licence: for non-commercial research only.
Ages: accurate to the year, collected by hand.
"""


def load_agedb(folder: str | os.PathLike) -> Bunch:
    """Load AgeDB from the folder of its images.

    Parameters
    ----------
    folder : path
        Contains files named ``[number]_[name]_[age]_[sex].jpg``, such as
        ``0_MariaCallas_35_f.jpg``, at any depth.

    Returns
    -------
    agedb : Bunch
        As `skage.datasets` describes it. The frame has person (the name) and
        sex.

    Raises
    ------
    ValueError
        If the folder does not exist, or no file in it has such a name.
    """
    rows = read_file_names(
        folder,
        r"\d+_(?P<person>[^/]+)_(?P<age>\d{1,3})_(?P<sex>[mf])\.jpg",
        "[number]_[name]_[age]_[sex].jpg",
        "AgeDB",
        "0_MariaCallas_35_f.jpg",
    )
    sex = rows.frame["sex"].str.lower().map({"m": "male", "f": "female"})
    rows.frame = rows.frame.assign(sex=sex)
    return to_bunch(rows, _DESCR)
