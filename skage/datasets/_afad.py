"""AFAD: a folder for each age and sex."""

from __future__ import annotations

import os

from sklearn.utils import Bunch

from ._rows import read_file_names, to_bunch

_DESCR = """Asian Face Age Dataset, AFAD (https://afad-dataset.github.io/): more than 160,000
photographs of Asian people, most at ages 15 to 40. AFAD-Lite is a part of it.

Citation: Niu, Zhou, Wang, Gao and Hua, "Ordinal Regression with Multiple Output CNN
for Age Estimation", CVPR 2016.
Licence: for academic research only.
Ages: whole years, from profiles of a social network.
"""


def load_afad(folder: str | os.PathLike) -> Bunch:
    """Load AFAD, or AFAD-Lite, from its folder.

    Parameters
    ----------
    folder : path
        Contains files such as ``15/111/638660-0.jpg``: age 15; 111 for male, 112
        for female; number 638660.

    Returns
    -------
    afad : Bunch
        As `skage.datasets` describes it. The frame has sex and person (the number
        before the dash, which benchmarks take for the person).

    Raises
    ------
    ValueError
        If the folder does not exist, or no file in it has such a name.
    """
    rows = read_file_names(
        folder,
        r"(?P<age>\d{1,3})/(?P<sex>11[12])/(?P<person>\d+)-\d+\.jpg",
        "[age]/[111 or 112]/[person]-[number].jpg",
        "AFAD",
        "15/111/638660-0.jpg",
    )
    sex = rows.frame["sex"].map({"111": "male", "112": "female"})
    rows.frame = rows.frame.assign(sex=sex)
    return to_bunch(rows, _DESCR)
