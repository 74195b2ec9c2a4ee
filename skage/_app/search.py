"""A grid search whose finished fits are kept in a file, so that it can be interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from .model import pretrained_file
from .parameters import dotted, spelled_out, write_value
from .shell import count, tell

# What no error depends on.
_NO_MATTER = {
    "classifier__verbose",
    "classifier__runtime__n_jobs",
    "classifier__runtime__feature_cache",
    "classifier__runtime__checkpoint",
}
_FIELDS = {"key", "mae", "seconds"}


class Journal:
    """Finished fits, a line of JSON each, by a digest of all that decides their errors.

    Parameters
    ----------
    path : path
        Need not exist. Its fits may belong to other searches too.
    """

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> dict[str, dict[str, Any]]:
        """The fits by their keys; a last line that was not written to its end is cut off.

        Raises
        ------
        ValueError
            If the file is something else.
        """
        found: dict[str, dict[str, Any]] = {}
        if not self.path.exists():
            return found
        *lines, last = self.path.read_bytes().split(b"\n")
        if last and not last.startswith(b"{"):  # not the beginning of a fit
            lines.append(last)
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                found[row["key"]] = {name: row[name] for name in _FIELDS}
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self.path}, line {number}, is not a finished fit. Remove the file, or name "
                    "another output with -o."
                ) from error
        if last:
            os.truncate(self.path, self.path.stat().st_size - len(last))
        return found

    def append(self, row: dict[str, Any]) -> None:
        """Write a fit."""
        with open(self.path, "ab") as file:
            file.write(json.dumps(row).encode() + b"\n")


class Search:
    """The errors of models in folds that keep groups together.

    Parameters
    ----------
    models : list of n_candidates BinnedAgeRegressor
        Not fitted.
    images : list of n_candidates sequences of n_samples images
    faces : Bunch
        As the loaders return it.
    n_folds : int
    seed : int
        Of the folds.
    preparation : object
        What made the images from the files of `faces`; its repr tells whether two are alike.
    """

    def __init__(
        self,
        models: Sequence[Any],
        images: Sequence[Any],
        faces: Any,
        n_folds: int,
        seed: int,
        preparation: Any,
    ):
        from ..splits import AgeStratifiedGroupKFold

        n_groups = len(set(faces.groups))
        if n_folds > n_groups:
            raise ValueError(
                f"--folds {n_folds} is more than the number of persons, or of different images, "
                f"which is {n_groups}. Lower --folds."
            )
        self.models, self.images = models, images
        self.ages, self.groups = faces.target, faces.groups
        splitter = AgeStratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        self.folds = list(splitter.split(faces.data, faces.target, faces.groups))
        self._facts = [preparation, [_file_facts(path) for path in faces.data]]

    @property
    def smallest_fold(self) -> Any:
        """Ages of the training images of the fold that has fewest."""
        return self.ages[min((train for train, _ in self.folds), key=len)]

    def median_mae(self) -> float:
        """Mean error in years, over the folds, of always predicting the training ages' median."""
        import numpy as np

        ages = self.ages
        errors = [np.abs(ages[test] - np.median(ages[train])).mean() for train, test in self.folds]
        return float(np.mean(errors))

    def run(self, journal: Journal, n_jobs: int, progress: bool) -> list[list[dict[str, Any]]]:
        """Do the fits that the journal does not have.

        Returns
        -------
        fits : list of n_candidates lists of n_folds dict
            mae, in years, None if the training diverged; seconds of the fit.
        """
        from joblib import Parallel, delayed
        from tqdm.auto import tqdm

        folds = range(len(self.folds))
        keys = [[self._key(i, j) for j in folds] for i in range(len(self.models))]
        at = {key: (i, j) for i, row in enumerate(keys) for j, key in enumerate(row)}
        noted = journal.read()
        found = {key: row for key, row in noted.items() if key in at}
        self._announce(journal, len(at), len(found), len(noted) - len(found))
        left = [place for key, place in at.items() if key not in found]
        work = (delayed(_fit)(*self._task(i, j), keys[i][j]) for i, j in left)
        kinds: set[str] = set()  # of warnings
        try:
            with tqdm(
                total=len(at), initial=len(found), desc="fits", unit="fit", disable=not progress
            ) as bar:
                parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
                for row, messages in parallel(work):
                    journal.append(row)
                    found[row["key"]] = row
                    for message in messages:  # those that differ in more than numbers
                        if (kind := re.sub(r"\d+", "", message)) not in kinds:
                            kinds.add(kind)
                            tell(f"Warning: {message}")
                    bar.update()
        except BaseException as error:
            told = f"{journal.path} contains {len(found):,} of {count(len(at), 'fit')}."
            if isinstance(error, (KeyboardInterrupt, SystemExit, BrokenExecutor)):
                told += " Run the same command again to go on from there."
            tell(told)
            raise
        return [[found[key] for key in row] for row in keys]

    def _announce(self, journal: Journal, n_fits: int, n_found: int, n_others: int) -> None:
        candidates = count(len(self.models), "candidate")
        lines = [f"{candidates} in {len(self.folds)} folds: {count(n_fits, 'fit')}."]
        if n_found:
            lines.append(f"{journal.path} contains {n_found:,} of them already.")
        if n_others:
            lines.append(
                f"{journal.path} contains {count(n_others, 'fit')} with other data, parameters, "
                "folds or version of skage too, which stay there and are not used."
            )
        tell("\n".join(lines))

    def _task(self, i: int, j: int) -> tuple[Any, ...]:
        train, test = self.folds[j]
        parts = ([self.images[i][int(k)] for k in rows] for rows in (train, test))
        return self.models[i], *parts, self.ages[train], self.ages[test], self.groups[train]

    def _key(self, i: int, j: int) -> str:
        """Digest of all that decides the error of a candidate in a fold."""
        from .. import __version__

        parameters = spelled_out(self.models[i]).get_params()
        written = sorted(
            (name, type(value).__name__ if hasattr(value, "get_params") else repr(value))
            for name, value in parameters.items()
            if name not in _NO_MATTER
        )
        if file := pretrained_file(self.models[i]):
            written.append(("file", repr(_file_facts(file))))
        hasher = hashlib.blake2b(digest_size=16)
        hasher.update(repr([__version__, written, self._facts]).encode(errors="surrogateescape"))
        for rows in (*self.folds[j], self.ages, self.groups):
            hasher.update(rows.tobytes())
        return hasher.hexdigest()


def _file_facts(path: str) -> tuple[str, int, int]:
    found = os.stat(path)
    return os.path.abspath(path), found.st_size, found.st_mtime_ns


def _fit(
    model: Any, images: Any, test_images: Any, ages: Any, test_ages: Any, groups: Any, key: str
) -> tuple[dict[str, Any], list[str]]:
    """The line of the journal on a fit, and warnings."""
    from sklearn.base import clone

    from ..metrics import neg_mean_absolute_error_scorer as scorer

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", UserWarning)
        begun, mae = time.perf_counter(), None
        try:
            model = clone(model).fit(images, ages, groups=groups)
            seconds = time.perf_counter() - begun
            mae = -float(scorer(model, test_images, test_ages))
        except ValueError as error:
            if "diverged" not in str(error):
                raise
            seconds = time.perf_counter() - begun
            warnings.warn(str(error), stacklevel=2)
    row = {"key": key, "mae": mae, "seconds": round(seconds, 3)}
    return row, [str(w.message) for w in caught if issubclass(w.category, UserWarning)]


def make_table(candidates: Sequence[dict[str, Any]], fits: Sequence[Sequence[Any]]) -> Any:
    """The candidates with their errors, the best first, by their positions among all.

    Returns
    -------
    table : DataFrame
        rank, the parameters, and over the folds the mean and the standard deviation of the
        mean absolute errors, in years, and the mean of the seconds of a fit.

    Raises
    ------
    ValueError
        If all of them diverged.
    """
    import pandas as pd

    errors = pd.DataFrame([[fit["mae"] for fit in row] for row in fits], dtype=float)
    seconds = pd.DataFrame([[fit["seconds"] for fit in row] for row in fits])
    table = pd.DataFrame(
        {
            **dict(_columns(candidates)),
            "mae": errors.mean(axis=1, skipna=False),
            "std": errors.std(axis=1, ddof=0, skipna=False),
            "seconds": seconds.mean(axis=1),
        }
    )
    if table["mae"].isna().all():
        raise ValueError("Training diverged with every candidate. Lower classifier.lr.")
    table.insert(0, "rank", table["mae"].rank(method="min").astype("Int64"))
    return table.sort_values("mae", kind="stable")


def _columns(candidates: Sequence[dict[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    for name in candidates[0]:
        yield dotted(name), [write_value(candidate[name]) for candidate in candidates]
