"""FG-NET: photographs of few persons, each at many ages."""

from __future__ import annotations

import os

from sklearn.utils import Bunch

from ._rows import read_file_names, to_bunch

_DESCR = """FG-NET Ageing Database (https://yanweifu.github.io/FG_NET_data/): 1,002 photographs
of 82 persons at ages 0 to 69, mostly scans from private albums.

Citation: Panis, Lanitis, Tsapatsoulis and Cootes, "Overview of research on facial
ageing using the FG-NET ageing database", IET Biometrics 5(2), 2016.
Licence: see its page.
Ages: real ages in whole years. The usual protocol leaves one person out.
"""


def load_fgnet(folder: str | os.PathLike) -> Bunch:
    """Load FG-NET from the folder of its images.

    The usual protocol leaves one person out: scikit-learn's ``LeaveOneGroupOut`` with
    the groups returned here.

    Parameters
    ----------
    folder : path
        Contains files such as ``001A02.JPG``, at any depth: person 1, age 2. A letter
        follows where there are several of one age (``010A07a.JPG``).

    Returns
    -------
    fgnet : Bunch
        As `skage.datasets` describes it. The frame has person ("001").

    Raises
    ------
    ValueError
        If the folder does not exist, or no file in it has such a name.
    """
    rows = read_file_names(
        folder,
        r"(?P<person>\d{3})A(?P<age>\d{2})[a-z]?\.(jpe?g|png)",
        "[person]A[age].JPG",
        "FG-NET",
        "001A02.JPG",
    )
    return to_bunch(rows, _DESCR)
