"""IMDB-WIKI, and IMDB-Clean, a cleaned part of it."""

from __future__ import annotations

import os
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from .._sklearn import validate_params
from ._published import read_columns, read_struct, texts
from ._rows import Rows, check_folder, find, locate, to_bunch, unexpected_folder

_BOX = ["x_min", "y_min", "x_max", "y_max"]
_FIELDS = (
    *("dob", "photo_taken", "full_path", "gender", "name"),
    *("face_location", "face_score", "second_face_score"),
)
_UNIX_EPOCH = 719529  # 1 January 1970 as Matlab numbers days
_WIKI_DESCR = """IMDB-WIKI (https://data.vision.ee.ethz.ch/cvl/rrothe/imdb-wiki/): 460,723 face
images of 20,284 celebrities from IMDb and 62,328 from Wikipedia.

Citation: Rothe, Timofte and Van Gool, "Deep expectation of real and apparent age
from a single image without facial landmarks", IJCV 2016.
Licence: for academic research only; the images belong to their owners.
Ages: from the date of birth and the year of the photograph, taken to be 1 July, so
they are noisy: years may be wrong, stills may be older than their films, and the face
may be another person's.
"""
_CLEAN_DESCR = """IMDB-Clean (https://github.com/yiminglin-ai/imdb-clean): IMDB-WIKI's IMDb part,
cleaned by clustering the faces of each celebrity, with the authors' split.

Citation: Lin, Shen, Wang and Pantic, "FP-Age: Leveraging Face Parsing Attention for
Facial Age Estimation in the Wild", arXiv:2106.11145, 2021; and IMDB-WIKI's.
Licence: MIT for the annotations; the images are IMDB-WIKI's, for academic research.
Ages: as IMDB-WIKI's, from the date of birth and the year of the photograph.
"""


@validate_params(
    {"min_face_score": [Real], "max_second_face_score": [None, Real], "age_range": ["array-like"]},
    prefer_skip_nested_validation=True,
)
def load_imdb_wiki(
    folder: str | os.PathLike,
    *,
    min_face_score: float = 1.0,
    max_second_face_score: float | None = None,
    age_range: tuple[float, float] = (0, 100),
) -> Bunch:
    """Load IMDB-WIKI from the folder of its .mat files, filtered as DEX does.

    Parameters
    ----------
    folder : path
        Contains ``imdb.mat``, ``wiki.mat`` or both, at most two levels down, each beside
        its images (``00`` to ``99``): either the crops or the whole images.

    min_face_score : float, default=1.0
        Lowest score of the face detector. Images without a face are always left out.
        The paper does not give a threshold; 1.0 is a convention of later work.

    max_second_face_score : float, default=None
        Highest score of a second face. The paper leaves out images whose second face
        scores above a threshold, but does not give it. None, the convention of later
        work, leaves out all images with a second face.

    age_range : (int, int), default=(0, 100)
        Youngest and oldest age in years; 0 to 100 are the paper's classes.

    Returns
    -------
    imdb_wiki : Bunch
        As `skage.datasets` describes it. The frame has person (the number of the IMDb
        or Wikipedia page, so that one person on both is two), name, sex, year (of the
        photograph), face_score, second_face_score, and x_min, y_min, x_max, y_max: the
        face in the whole image, in pixels counted from 1.

    Raises
    ------
    ValueError
        If the folder does not exist or contains neither .mat file, or one of them does not
        have the expected format.

    Notes
    -----
    Ages are whole years at 1 July of the photograph's year, by the authors' own
    formula, ``datevec(datenum(photo_taken, 7, 1) - dob)``. The paper also drops
    images at random until ages are spread evenly; this loader does not.
    """
    if np.shape(age_range) != (2,):
        raise ValueError(f"age_range={age_range!r} must be (youngest, oldest), in years.")
    root = check_folder(folder)
    tables = find(root, r"(imdb|wiki)\.mat")
    if not tables:
        raise unexpected_folder(root, "imdb.mat or wiki.mat, as in IMDB-WIKI")
    frame = pd.concat([_read_mat(path) for path in tables], ignore_index=True)
    rows = Rows(frame, has_persons=True)
    low, high = age_range
    rows.drop(rows.frame["age"].isna(), "date of birth or year is unusable")
    rows.drop(~rows.frame["age"].between(low, high), f"age is outside {low}-{high}")
    rows.drop(~np.isfinite(rows.frame["face_score"]), "no face was found")
    rows.drop(rows.frame["face_score"] < min_face_score, f"face score is below {min_face_score}")
    second = rows.frame["second_face_score"]
    if max_second_face_score is None:
        rows.drop(second.notna(), "there is a second face")
    else:
        rows.drop(second > max_second_face_score, f"second face is above {max_second_face_score}")
    return to_bunch(rows, _WIKI_DESCR)


def _read_mat(path: Path) -> pd.DataFrame:
    record = read_struct(path, path.stem.lower(), _FIELDS, "IMDB-WIKI")

    def column(name: str) -> np.ndarray:
        return record[name].ravel()

    def numbers(name: str) -> np.ndarray:
        return column(name).astype(np.float64)

    names = texts(column("full_path"))
    box = np.vstack(list(column("face_location"))).astype(np.float64)
    year = numbers("photo_taken")
    return pd.DataFrame(
        {
            "path": [str(path.parent / name) for name in names],
            "age": _ages(numbers("dob"), year),
            "person": [name.rsplit("/", 1)[-1].split("_", 1)[0] for name in names],
            "name": [name or None for name in texts(column("name"))],
            "sex": pd.Series(numbers("gender")).map({0: "female", 1: "male"}),
            "year": year,
            "face_score": numbers("face_score"),
            "second_face_score": numbers("second_face_score"),
            **dict(zip(_BOX, box.T, strict=True)),
        }
    )


def _ages(dob: np.ndarray, year: np.ndarray) -> np.ndarray:
    """Age at 1 July of a year, from a birth date in Matlab's count of days.

    NaN where either is outside the years 1 to 9999.
    """
    # In that count, year 1 begins with day 367 and year 9999 ends with day 3652424.
    usable = (dob > 366) & (dob < 3652425) & (year >= 1) & (year <= 9999)
    born, taken = np.where(usable, dob, 367), np.where(usable, year, 1)
    july = (taken.astype(np.int64) - 1970).astype("datetime64[Y]").astype("datetime64[M]") + 6
    days = july.astype("datetime64[D]").astype(np.int64) + _UNIX_EPOCH - born
    elapsed = (np.floor(days).astype(np.int64) - _UNIX_EPOCH).astype("datetime64[D]")
    return np.where(usable, elapsed.astype("datetime64[Y]").astype(np.int64) + 1970.0, np.nan)


@validate_params({"cropped": ["boolean"]}, prefer_skip_nested_validation=True)
def load_imdb_clean(folder: str | os.PathLike, *, cropped: bool = True) -> Bunch:
    """Load IMDB-Clean from the folder of its CSVs and images.

    Parameters
    ----------
    folder : path
        Contains ``imdb_train_new_1024.csv`` and the same for ``valid`` and ``test``, and
        the images in ``imdb-clean-1024``, each at most two levels down, as the authors'
        scripts leave them in ``csvs`` and ``data``.

    cropped : bool, default=True
        Whether to load the crops of ``imdb-clean-1024``. If False, load
        ``imdb_train_new.csv`` and so on, and IMDB-WIKI's whole images in ``imdb``.

    Returns
    -------
    imdb_clean : Bunch
        As `skage.datasets` describes it. The frame has person (the number of the
        IMDb page), sex, split, x_min, y_min, x_max, y_max (the face in pixels),
        head_roll, head_yaw and head_pitch.

    Raises
    ------
    ValueError
        If the folder does not exist or lacks the CSVs or the images, or a CSV does not have
        the expected format.
    """
    root = check_folder(folder)
    suffix, images = ("_1024", "imdb-clean-1024") if cropped else ("", "imdb")
    tables = [
        read_columns(path, ("filename", "age", "gender"), "IMDB-Clean").assign(split=split)
        for split in ("train", "valid", "test")
        for path in find(root, rf"imdb_{split}_new{suffix}\.csv")[:1]
    ]
    if not tables:
        raise unexpected_folder(root, f"imdb_train_new{suffix}.csv, as in IMDB-Clean")
    frame = pd.concat(tables, ignore_index=True)
    names = frame.pop("filename")
    base = locate(root, names.tolist(), images, "IMDB-Clean")
    frame = frame.assign(
        path=[str(base / name) for name in names],
        person=names.str.rsplit("/", n=1).str[-1].str.split("_", n=1).str[0],
        sex=frame.pop("gender").map({"M": "male", "F": "female"}),
    )
    return to_bunch(Rows(frame, has_persons=True), _CLEAN_DESCR)
