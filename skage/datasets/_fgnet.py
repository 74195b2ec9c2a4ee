"""FG-NET: few persons, each at many ages."""

from __future__ import annotations

import os

from sklearn.utils import Bunch

from ._rows import named, to_bunch

_DESCR = """FG-NET Ageing Database (https://yanweifu.github.io/FG_NET_data/): 1,002 photographs
of 82 persons at ages 0 to 69, mostly scans from private albums.

Citation: Panis, Lanitis, Tsapatsoulis and Cootes, "Overview of research on facial
ageing using the FG-NET ageing database", IET Biometrics 5(2), 2016.
Licence: see its page.
Ages: real ages in whole years. Results are reported leaving one person out.
"""


def load_fgnet(folder: str | os.PathLike) -> Bunch:
    """Load FG-NET from the folder of its images.

    ``LeaveOneGroupOut`` over its groups is its usual protocol, "leave one person
    out".

    Parameters
    ----------
    folder : path
        Holds files named ``001A02.JPG``: person 1 at age 2; a letter follows
        where there are several of that age (``010A07a.JPG``). At any depth.

    Returns
    -------
    fgnet : Bunch
        As `skage.datasets` describes it. The frame has person ("001").

    Raises
    ------
    ValueError
        If the folder does not exist, or holds no file named so.
    """
    rows = named(
        folder,
        r"(?P<person>\d{3})A(?P<age>\d{2})[a-z]?\.(jpe?g|png)",
        "[person]A[age].JPG",
        "FG-NET",
        "001A02.JPG",
    )
    return to_bunch(rows, _DESCR)
