"""The command ``python -m skage tune``: a grid search that can be interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from .._files.paths import replacing
from .data import data_options, read_faces
from .model import make_model, model_options
from .parameters import parse_grid
from .shell import (
    DATA,
    FILE,
    PathType,
    check_output,
    clear_errors,
    count,
    cropped,
    face_options,
    save_model,
    tell,
)

_SHOWN = 5  # candidates that are printed


@click.command()
@click.argument("data", type=DATA)
@click.option("-o", "--output", type=FILE, default="age.skage", help="Model file to write.")
@click.option(
    "--grid",
    multiple=True,
    required=True,
    metavar="NAME=VALUE,...",
    help="Values of a parameter to try; give it once for each parameter.",
)
@click.option(
    "--folds", type=click.IntRange(2), default=5, help="Number of cross-validation folds."
)
@click.option(
    "--jobs",
    type=click.IntRange(min=-1),
    default=1,
    help="Number of processes that fit side by side; -1 takes all processors.",
)
@click.option(
    "--table",
    type=FILE,
    help="CSV for the errors of all candidates.  [default: the model file's name, ending in .csv]",
)
@click.option(
    "--cache",
    "feature_cache",
    type=PathType(),
    default="auto",
    help='Folder that keeps activations, which all fits share; "auto" is your cache folder.',
)
@model_options
@data_options
@face_options
def tune(
    data: Path,
    output: Path,
    grid: Sequence[str],
    folds: int,
    jobs: int,
    table: Path | None,
    **options: Any,
) -> None:
    """Search for the best parameters on DATA, and write the best model.

    Each combination of the --grid values is scored by cross-validation: the mean
    absolute error in years, on folds that keep a person's images, and identical
    files, together. The best one is fitted to all images and written.

    Finished fits are noted in a file beside the model (.fits.jsonl). The same
    command, or one with more values, does not repeat them.

    \b
    Examples:
      python -m skage tune faces.csv --grid binner.n_bins=10,20,50
      python -m skage tune UTKFace/ --jobs 2 --grid classifier.lr=0.01,0.03 \\
        --grid classifier.weight_decay=0.005,0.05
    """
    with clear_errors():
        model = make_model(options)
        candidates = parse_grid(model, grid)
        table = output.with_suffix(".csv") if table is None else table
        journal = output.with_suffix(".fits.jsonl")
        faces = read_faces(data, **options)
        for file in (output, table, journal):
            check_output(file, [data, *faces.data])
        images = cropped(faces.data, model.classifier._sides()[0], **options)
        search = Search(model, candidates, images, faces, folds, options["random_state"])
        results = search.run(journal, jobs, options["progress"])
        with replacing(table, "w") as opened:
            results.to_csv(opened, index=False)
        _show(results, search.constant_mae())
        best = search.candidate(int(results["candidate"].iloc[0]))
        model.set_params(**best)
        with warnings.catch_warnings():
            model.fit(images, faces.target)
        save_model(model, output)
    click.echo(
        f"The best model, fitted to all {count(len(faces.data), 'image')}: "
        f"{click.format_filename(output)}\nAll candidates: {click.format_filename(table)}"
    )


class Search:
    """A grid search over folds that keep groups together.

    Parameters
    ----------
    model : BinnedAgeRegressor
    grid : dict of str to list
    images : sequence of n_samples images
    faces : Bunch
        As the loaders return it.
    n_folds : int
    seed : int
        Of the folds.
    """

    def __init__(
        self,
        model: Any,
        grid: dict[str, list[Any]],
        images: Any,
        faces: Any,
        n_folds: int,
        seed: int,
    ):
        from sklearn.model_selection import ParameterGrid

        from ..splits import AgeStratifiedGroupKFold

        self.model, self.images, self.ages = model, images, faces.target
        self.candidates = list(ParameterGrid(grid))
        splitter = AgeStratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        self.folds = list(splitter.split(faces.data, faces.target, faces.groups))
        self.facts = [self._file_facts(path) for path in faces.data]

    def candidate(self, i: int) -> dict[str, Any]:
        return self.candidates[i]

    def constant_mae(self) -> float:
        """Mean error, over the folds, of always predicting the training ages' median."""
        import numpy as np

        ages = self.ages
        errors = [np.abs(ages[test] - np.median(ages[train])).mean() for train, test in self.folds]
        return float(np.mean(errors))

    def run(self, journal: Path, n_jobs: int, progress: bool) -> Any:
        """Fit all candidates in all folds, and return their errors, the best first."""
        from joblib import Parallel, delayed
        from tqdm.auto import tqdm

        wanted = {
            self._key(i, j): (i, j)
            for i in range(len(self.candidates))
            for j in range(len(self.folds))
        }
        found = {key: row for key, row in _read_journal(journal) if key in wanted}
        left = [key for key in wanted if key not in found]
        known = f" {len(found):,} of them are in {journal} already." if found else ""
        tell(
            f"{count(len(self.candidates), 'candidate')} x {len(self.folds)} folds: "
            f"{count(len(wanted), 'fit')}.{known}"
        )
        work = (delayed(self._fit)(key, *wanted[key]) for key in left)
        parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
        try:
            with (
                open(journal, "a", encoding="utf-8") as file,
                tqdm(total=len(left), desc="fits", unit="fit", disable=not progress) as bar,
            ):
                for key, row in parallel(work):
                    file.write(json.dumps({"key": key, **row}) + "\n")
                    file.flush()
                    found[key] = row
                    bar.update()
        except BaseException:
            tell(
                f"{len(found):,} of {count(len(wanted), 'fit')} are in {journal}. Run the same "
                "command again to go on."
            )
            raise
        return self._table({wanted[key]: row for key, row in found.items()})

    def _fit(self, key: str, i: int, j: int) -> tuple[str, dict[str, Any]]:
        from sklearn.base import clone

        from ..metrics import neg_mean_absolute_error_scorer as scorer

        train, test = ([*map(int, rows)] for rows in self.folds[j])
        model = clone(self.model).set_params(**self.candidates[i], classifier__verbose=0)
        begun = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the same in every fit
            try:
                model.fit([self.images[k] for k in train], self.ages[train])
                mae = -scorer(model, [self.images[k] for k in test], self.ages[test])
            except ValueError as error:
                if "diverged" not in str(error):
                    raise
                return key, {"mae": None, "seconds": time.perf_counter() - begun}
        return key, {"mae": float(mae), "seconds": time.perf_counter() - begun}

    def _table(self, rows: dict[tuple[int, int], dict[str, Any]]) -> Any:
        import pandas as pd

        n_folds = len(self.folds)
        table = []
        for i, candidate in enumerate(self.candidates):
            fits = [rows[i, j] for j in range(n_folds)]
            errors = pd.Series([fit["mae"] for fit in fits], dtype=float)
            table.append(
                {name.replace("__", "."): value for name, value in candidate.items()}
                | {
                    "mae": errors.mean(skipna=False),
                    "std": errors.std(ddof=0, skipna=False),
                    "seconds": sum(fit["seconds"] for fit in fits) / n_folds,
                    "candidate": i,
                }
            )
        frame = pd.DataFrame(table).sort_values("mae", kind="stable", ignore_index=True)
        if frame["mae"].isna().all():
            raise ValueError("Training diverged with every candidate. Try lower values of lr.")
        frame.insert(0, "rank", frame["mae"].rank(method="min").astype("Int64"))
        return frame

    def _key(self, i: int, j: int) -> str:
        """Digest of all that decides the error of a candidate in a fold."""
        from .. import __version__

        left_out = ("classifier__verbose", "classifier__runtime")
        model = self.model.get_params(deep=True)
        parameters = {k: repr(v) for k, v in model.items() if not k.startswith(left_out)}
        parameters |= {k: repr(v) for k, v in self.candidates[i].items()}
        for whole in ("classifier", "binner"):
            parameters.pop(whole, None)
        hasher = hashlib.blake2b(digest_size=16)
        hasher.update(repr([__version__, sorted(parameters.items()), self.facts]).encode())
        for rows in self.folds[j]:
            hasher.update(rows.astype("int64").tobytes())
        hasher.update(self.ages.tobytes())
        return hasher.hexdigest()

    @staticmethod
    def _file_facts(path: str) -> tuple[str, int, int]:
        found = os.stat(path)
        return path, found.st_size, found.st_mtime_ns


def _read_journal(journal: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The fits that were finished; a line that is not whole was being written."""
    if not journal.exists():
        return
    text = journal.read_text(encoding="utf-8")
    if text and not text.endswith("\n"):
        with open(journal, "a", encoding="utf-8") as file:
            file.write("\n")
    for line in text.splitlines():
        try:
            row = json.loads(line)
            yield row.pop("key"), row
        except (ValueError, KeyError, AttributeError):
            continue


def _show(results: Any, constant: float) -> None:
    shown = results.drop(columns="candidate").head(_SHOWN)
    click.echo(shown.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    if len(results) > _SHOWN:
        click.echo(f"... and {len(results) - _SHOWN:,} more.")
    click.echo(f"MAE of always predicting the median age on the same folds: {constant:.2f} years")
