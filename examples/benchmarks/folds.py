"""The images of UTKFace and five folds of them; what the benchmarks share."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from sklearn.model_selection import GroupKFold

from skage.datasets import load_utkface


def read_folds(data: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paths, ages and folds: those of table.csv where the folder has one, else new ones.

    Copies of an image are in one fold.
    """
    faces = load_utkface(data)
    paths = np.array(faces.data, dtype=object)
    table = data / "table.csv"
    if table.exists():
        with open(table, newline="") as file:
            known = {row["file"]: int(row["fold"]) for row in csv.DictReader(file)}
        return paths, faces.target, np.array([known[Path(path).name] for path in paths])
    fold = np.empty(len(paths), dtype=int)
    for k, (_, rows) in enumerate(GroupKFold(5).split(paths, groups=faces.groups)):
        fold[rows] = k
    return paths, faces.target, fold
