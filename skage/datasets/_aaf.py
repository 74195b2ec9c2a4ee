"""All-Age-Faces: one photograph of each of 13,322 persons."""

from __future__ import annotations

import os

import numpy as np
from sklearn.utils import Bunch

from ._rows import check_folder, key, read_file_names, to_bunch

_LAST_FEMALE = 7380
_DESCR = """All-Age-Faces (https://github.com/JingchunCheng/All-Age-Faces-Dataset): 13,322
photographs, mostly of Asian people, at ages 2 to 80, each of a different person.

Citation: Cheng, Li, Wang, Yu and Wang, "Exploiting effective facial patches for
robust gender recognition", Tsinghua Science and Technology 24(3), 2019.
Licence: its page does not name one; it asks for the citation.
Ages: whole years in the file names; its page does not say how they were determined.
"""


def load_aaf(folder: str | os.PathLike) -> Bunch:
    """Load All-Age-Faces from its folder.

    Parameters
    ----------
    folder : path
        Contains files such as ``00025A02.jpg``: serial number 25, age 2. The whole
        dataset contains ``original images`` and ``aligned faces`` of the same names;
        the originals are loaded. Pass the folder ``aligned faces`` itself to load those.

    Returns
    -------
    aaf : Bunch
        As `skage.datasets` describes it. The frame has person (the serial
        number), sex, and split ("train" or "valid") if ``image sets``, with
        ``train.txt`` or ``val.txt``, is in the folder or beside it.

    Raises
    ------
    ValueError
        If the folder does not exist, or no file in it has such a name.
    """
    root = check_folder(folder)
    originals = root / "original images"
    rows = read_file_names(
        originals if originals.is_dir() else root,
        r"(?P<person>\d{5})A(?P<age>\d{2})\.jpg",
        "[serial number]A[age].jpg",
        "All-Age-Faces",
        "00025A02.jpg",
    )
    serial = rows.frame["person"].astype(int)
    rows.frame = rows.frame.assign(sex=np.where(serial <= _LAST_FEMALE, "female", "male"))
    for sets in (root / "image sets", root.parent / "image sets"):
        split = {
            key(line)[:8]: split
            for split, name in (("train", "train.txt"), ("valid", "val.txt"))
            if (sets / name).is_file()
            for line in (sets / name).read_text("utf-8-sig", errors="replace").splitlines()
        }
        if split:
            name = rows.frame["person"] + "A" + rows.frame["age"]
            rows.frame = rows.frame.assign(split=name.map(split))
            break
    return to_bunch(rows, _DESCR)
