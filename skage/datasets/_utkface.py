"""UTKFace: faces with age, sex and ethnicity in the file names."""

from __future__ import annotations

import os

from sklearn.utils import Bunch

from ._rows import read_file_names, to_bunch

# A few published names lack a label, or have "jpg" garbled before ".chip.jpg".
_PATTERN = (
    r"(?P<age>\d{1,3})(_(?P<sex>[01]?))?(_(?P<ethnicity>[0-4]))?"
    r"_\d{8,} ?\.?j?pg(\.chip\.jpg)?"
)
_SEX = {"0": "male", "1": "female"}
_ETHNICITY = {"0": "White", "1": "Black", "2": "Asian", "3": "Indian", "4": "Other"}
_DESCR = """UTKFace (https://susanqq.github.io/UTKFace/): more than 20,000 face images of
ages 0 to 116 with sex and ethnicity.

Citation: Zhang, Song and Qi, "Age Progression/Regression by Conditional
Adversarial Autoencoder", CVPR 2017.
Licence: for non-commercial research only; the images belong to their owners.
Ages: estimated by a DEX model and then checked by people, so an error on them is an
error against these estimates.
"""


def load_utkface(folder: str | os.PathLike) -> Bunch:
    """Load UTKFace from the folder of its images.

    Parameters
    ----------
    folder : path
        Contains files named ``[age]_[sex]_[ethnicity]_[date].jpg`` (aligned crops end in
        ``.jpg.chip.jpg``), at any depth. Pass either the crops or the whole images: a
        crop and its original would count as two images.

    Returns
    -------
    utkface : Bunch
        As `skage.datasets` describes it. The frame has sex ("male", "female")
        and ethnicity ("White", "Black", "Asian", "Indian", "Other"). Where a name lacks
        one of them, both are missing, as the name does not tell which one it lacks.
        Persons are not known.

    Raises
    ------
    ValueError
        If the folder does not exist, or no file in it has such a name.
    """
    rows = read_file_names(
        folder,
        _PATTERN,
        "[age]_[sex]_[ethnicity]_[date].jpg",
        "UTKFace",
        "25_0_1_20170116174525125.jpg.chip.jpg",
    )
    frame = rows.frame
    complete = frame["sex"].isin(list(_SEX)) & frame["ethnicity"].notna()
    rows.frame = frame.assign(
        sex=frame["sex"].map(_SEX).where(complete),
        ethnicity=frame["ethnicity"].map(_ETHNICITY).where(complete),
    )
    return to_bunch(rows, _DESCR)
