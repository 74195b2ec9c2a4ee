"""UTKFace: faces with age, sex and ethnicity in the file names."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

_NAME = re.compile(
    r"(?P<age>\d{1,3})(_(?P<sex>[01]))?(_(?P<ethnicity>[0-4]))?_\d{8,}\.jpg(\.chip\.jpg)?", re.I
)
_SEX = ("male", "female")
_ETHNICITY = ("White", "Black", "Asian", "Indian", "Other")
_DESCR = """UTKFace (Zhang, Song and Qi, "Age Progression/Regression by Conditional
Adversarial Autoencoder", CVPR 2017): more than 20,000 face images of ages 0 to
116 with sex and ethnicity. For non-commercial research only; the images belong
to their owners. The ages were estimated by a DEX model and then checked by
people, so errors on them are errors against that.
"""


def load_utkface(folder):
    """Load UTKFace from the folder of its images, as its authors distribute it.

    Parameters
    ----------
    folder : path
        Holds files named ``[age]_[sex]_[ethnicity]_[date].jpg`` (aligned crops
        end in ``.jpg.chip.jpg``), at any depth. Images are not opened, only
        hashed.

    Returns
    -------
    utkface : Bunch
        data : list of str
            Paths, in the order of the names.
        target : ndarray of shape (n_samples,), float64
            Ages in years.
        groups : ndarray of shape (n_samples,), int
            Identical files share one, so that no split parts them.
        sex : ndarray of shape (n_samples,), str
            "male", "female", or "unknown" where the name lacks it.
        ethnicity : ndarray of shape (n_samples,), str
            "White", "Black", "Asian", "Indian", "Other" or "unknown".
        DESCR : str
            Source, licence, and how the ages were made.

    Raises
    ------
    ValueError
        If the folder does not exist, or holds no file named so.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"{os.fspath(folder)!r} is not a folder.")
    found = [
        (path, match)
        for path in sorted(root.rglob("*"))
        if (match := _NAME.fullmatch(path.name)) and path.is_file()
    ]
    if not found:
        raise ValueError(
            f"{os.fspath(folder)!r} holds no file named [age]_[sex]_[ethnicity]_[date].jpg, as "
            "UTKFace has them (for example 25_0_1_20170116174525125.jpg.chip.jpg)."
        )
    contents = [hashlib.blake2b(path.read_bytes(), digest_size=16).digest() for path, _ in found]
    fields = [match.groupdict() for _, match in found]
    return Bunch(
        data=[os.fspath(path) for path, _ in found],
        target=np.array([float(field["age"]) for field in fields]),
        groups=np.unique(contents, return_inverse=True)[1],
        **{
            name: np.array([_label(field, name, values) for field in fields])
            for name, values in (("sex", _SEX), ("ethnicity", _ETHNICITY))
        },
        DESCR=_DESCR,
    )


def _label(field: dict[str, str | None], name: str, values: tuple[str, ...]) -> str:
    """The label of a file name that has all its fields; a shorter name leaves
    open which one it lacks."""
    complete = field["sex"] is not None and field["ethnicity"] is not None
    return values[int(field[name] or 0)] if complete else "unknown"
