"""APPA-REAL and ChaLearn LAP: apparent ages, and the standard deviations of the votes."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pandas as pd
from sklearn.utils import Bunch

from .._sklearn import StrOptions, validate_params
from ._published import read_columns
from ._rows import Rows, check_folder, files, find, key, to_bunch, unexpected_folder

_SPLITS = ("train", "valid", "test")
_APPA_COLUMNS = ("file_name", "num_ratings", "apparent_age_avg", "apparent_age_std", "real_age")
_APPA_DESCR = """APPA-REAL (https://chalearnlap.cvc.uab.cat/dataset/26/description/): 7,591 images
with real and apparent ages, 4,113 to train, 1,500 to validate and 1,978 to test.

Citation: Agustsson, Timofte, Escalera, Baro, Guyon and Rothe, "Apparent and real age
estimation in still images with deep residual regressors on APPA-REAL database",
FG 2017.
Licence: see its page.
Ages: the apparent age is the mean of about 38 people's guesses per image; the real
age is given too.
"""
_LAP_DESCR = """ChaLearn Looking at People, apparent age (https://chalearnlap.cvc.uab.cat): the data
of the challenge of 2015, or of its second, larger round of 2016.

Citation: Escalera et al., "ChaLearn Looking at People 2015: Apparent Age and
Cultural Event Recognition Datasets and Results", ICCV Workshops 2015; for 2016,
Escalera et al., "ChaLearn Looking at People and Faces of the World: Face Analysis
Workshop and Challenge 2016", CVPR Workshops 2016.
Licence: see its page.
Ages: apparent, the mean of people's guesses; their standard deviation is given.
"""


@validate_params(
    {"target": [StrOptions({"apparent", "real"})], "cropped": ["boolean"]},
    prefer_skip_nested_validation=True,
)
def load_appa_real(
    folder: str | os.PathLike, *, target: str = "apparent", cropped: bool = False
) -> Bunch:
    """Load APPA-REAL from its folder.

    Parameters
    ----------
    folder : path
        Contains ``gt_avg_train.csv``, ``gt_avg_valid.csv`` and ``gt_avg_test.csv``, and
        the images in the folders ``train``, ``valid`` and ``test`` beside them.

    target : {"apparent", "real"}, default="apparent"
        The age to predict. "apparent" also returns `target_std`.

    cropped : bool, default=False
        Whether to load the authors' aligned faces, ``000000.jpg_face.jpg``, rather than
        the whole images, ``000000.jpg``.

    Returns
    -------
    appa_real : Bunch
        As `skage.datasets` describes it. For apparent ages it also has target_std,
        ndarray of shape (n_samples,): the standard deviation of the guesses in years.
        The frame has split, apparent_age, apparent_std, real_age and n_votes. Persons
        are not known.

    Raises
    ------
    ValueError
        If the folder does not exist or contains none of the CSVs, or one of them does not
        have the expected format.
    """
    root = check_folder(folder)
    tables = []
    for split in _SPLITS:
        for path in find(root, rf"gt_avg_{split}\.csv")[:1]:
            table = read_columns(path, _APPA_COLUMNS, "APPA-REAL").assign(split=split)
            ending = "_face.jpg" if cropped else ""
            table["path"] = [str(path.parent / split / f"{n}{ending}") for n in table["file_name"]]
            tables.append(table)
    if not tables:
        raise unexpected_folder(root, "gt_avg_train.csv, as in APPA-REAL")
    names = {
        "num_ratings": "n_votes",
        "apparent_age_avg": "apparent_age",
        "apparent_age_std": "apparent_std",
    }
    frame = pd.concat(tables, ignore_index=True).drop(columns="file_name").rename(columns=names)
    if target == "apparent":
        frame = frame.assign(age=frame["apparent_age"], age_std=frame["apparent_std"])
    else:
        frame = frame.assign(age=frame["real_age"])
    return to_bunch(Rows(frame, has_std=target == "apparent"), _APPA_DESCR)


def load_lap(folder: str | os.PathLike) -> Bunch:
    """Load the apparent ages of ChaLearn LAP, 2015 or 2016, from its folder.

    Parameters
    ----------
    folder : path
        Contains one table for each split, at most two levels down: ``train_gt.csv``,
        ``valid_gt.csv`` and ``test_gt.csv`` (2016), or ``Train.csv`` and so on (2015).
        Their columns are image, mean and stdv, separated by commas or semicolons, with
        or without a header. Images may be anywhere in the folder; where splits share
        file names, those of a split are in folders that begin with its name
        (``train_1``).

    Returns
    -------
    lap : Bunch
        As `skage.datasets` describes it. It also has target_std, ndarray of shape
        (n_samples,): the standard deviation of the guesses in years. The frame has
        split and age_std. Persons are not known.

    Raises
    ------
    ValueError
        If the folder does not exist or contains none of the tables, or one of them does
        not have the expected format.
    """
    root = check_folder(folder)
    images: dict[str, list[Path]] = {}
    for path in files(root):
        images.setdefault(key(path.name), []).append(path.relative_to(root))
    tables = [
        _read_votes(path, split, root, images)
        for split in _SPLITS
        for path in find(root, rf"{split}(ation)?(_gt)?\.csv")[:1]
    ]
    if not tables:
        raise unexpected_folder(root, "train_gt.csv or Train.csv, as in ChaLearn LAP")
    return to_bunch(Rows(pd.concat(tables, ignore_index=True), has_std=True), _LAP_DESCR)


def _read_votes(table: Path, split: str, root: Path, images: dict[str, list[Path]]) -> pd.DataFrame:
    try:
        text = table.read_text(encoding="utf-8-sig")
        found = list(csv.reader(text.splitlines(), delimiter=";" if ";" in text else ","))
    except (UnicodeDecodeError, csv.Error):
        found = []
    lines = [[key(cell) for cell in line] for line in found if "".join(line).strip()]
    lines = [line for line in lines if line[0].lower() != "image"]
    if not lines or any(len(line) != 3 for line in lines):
        raise ValueError(
            f"{table} is not a table of ChaLearn LAP, whose columns are image, mean and stdv. "
            "Download it again."
        )
    names, mean, std = zip(*lines, strict=True)

    def of_split(path: Path) -> bool:
        return any(part.lower().startswith(split[:3]) for part in path.parent.parts)

    paths = []
    for name in names:
        candidates = images.get(name, [])
        ours = [path for path in candidates if of_split(path)]
        if not ours and len(candidates) == 1:
            ours = candidates
        paths.append(str(root / (ours[0] if ours else name)))
    return pd.DataFrame({"path": paths, "age": mean, "age_std": std, "split": split})
