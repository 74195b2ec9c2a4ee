"""MORPH II: police photographs of the same persons over years."""

from __future__ import annotations

import os

from sklearn.utils import Bunch

from ._published import read_columns
from ._rows import add_table, check_folder, find, read_file_names, to_bunch

_RACE = {"B": "Black", "W": "White", "A": "Asian", "H": "Hispanic", "O": "Other"}
_DESCR = """MORPH album 2, non-commercial release (University of North Carolina Wilmington):
about 55,000 police photographs of more than 13,000 persons at ages 16 to 77.

Citation: Ricanek and Tesafaye, "MORPH: A Longitudinal Image Database of Normal
Adult Age-Progression", FG 2006.
Licence: sold by the university; this release is for non-commercial use only.
Ages: whole years, from the dates of birth and of the photograph.
"""


def load_morph2(folder: str | os.PathLike) -> Bunch:
    """Load MORPH II from its folder.

    Parameters
    ----------
    folder : path
        Contains files such as ``009055_1M54.JPG`` (person 009055, picture 1, male, age
        54), at any depth. ``morph_2008_nonCommercial.csv`` is read if it is in the
        folder or at most two levels down.

    Returns
    -------
    morph2 : Bunch
        As `skage.datasets` describes it. The frame has person, picture and sex and,
        with the CSV, ethnicity ("Black", "White", "Asian", "Hispanic", "Other") and the
        CSV's other columns: dob, doa, facial_hair, glasses, ...

    Raises
    ------
    ValueError
        If the folder does not exist, no file in it has such a name, or the CSV does not have
        the expected format.
    """
    rows = read_file_names(
        folder,
        r"(?P<person>\d+)_(?P<picture>\d+)(?P<sex>[MF])(?P<age>\d{1,3})\.jpe?g",
        "[person]_[picture][sex][age].JPG",
        "MORPH II",
        "009055_1M54.JPG",
    )
    sex = rows.frame["sex"].str.upper().map({"M": "male", "F": "female"})
    rows.frame = rows.frame.assign(sex=sex)
    for path in find(check_folder(folder), r"morph_2008_nonCommercial\.csv")[:1]:
        table = read_columns(path, ("photo", "race"), "MORPH II")
        table = table.assign(
            file=table["photo"].str.rsplit("/", n=1).str[-1],
            ethnicity=table["race"].map(_RACE).fillna(table["race"]),
        )
        # The file names contain these already.
        known = ["id_num", "picture_num", "gender", "race", "photo"]
        add_table(rows, table.drop(columns=known, errors="ignore"))
    return to_bunch(rows, _DESCR)
