"""The command ``python -m skage tune``."""

from __future__ import annotations

import os
import shlex
from itertools import combinations
from pathlib import Path
from typing import Any

import click

from .._files.paths import replacing
from .data import data_options, group_option, leave_out_unreadable, read_faces
from .model import Recipe, check_fit, crop_side, model_options, pretrained_file
from .search import Journal, Search, make_table
from .shell import (
    DATA,
    FILE,
    PathType,
    check_output,
    clear_errors,
    count,
    crop_settings,
    cropped,
    ended_by_signals,
    face_options,
    save_model,
)

_SHOWN = 5  # candidates that are printed


@click.command()
@click.argument("data", type=DATA, required=False, metavar="DATA")
@click.option("-o", "--output", type=FILE, default="age.skage", help="Model file to write.")
@click.option(
    "--grid",
    multiple=True,
    metavar="NAME=VALUE,...",
    help="Values of a parameter to try. Repeat it to try all combinations.  [required]",
)
@click.option(
    "--folds", type=click.IntRange(2), default=5, help="Number of cross-validation folds."
)
@click.option(
    "--jobs", type=click.IntRange(1), default=1, help="Number of processes that fit side by side."
)
@click.option(
    "--table",
    type=FILE,
    help="CSV to write, with the errors of all candidates.  [default: the model file's name, "
    "ending in .search.csv]",
)
@click.option(
    "--cache",
    "feature_cache",
    type=PathType(),
    default="auto",
    help="Folder that keeps activations, which all fits share, also after an interruption; "
    '"auto" is your cache folder.',
)
@model_options
@data_options
@group_option
@face_options
def tune(
    recipe: Recipe,
    data: Path,
    output: Path,
    grid: dict[str, list[Any]],
    folds: int,
    jobs: int,
    table: Path | None,
    **options: Any,
) -> None:
    """Search for the best parameters on DATA, and write the best model.

    DATA is what train takes. Every combination of the --grid values is scored by
    cross-validation: the mean absolute error in years, on folds that keep the
    images of a person, and identical files, together. The best one is fitted to
    all images and written.

    Finished fits are kept in a file beside the model, whose name ends in
    .search.jsonl. The same command, or one with more values, goes on from there.

    \b
    Examples:
      python -m skage tune faces.csv --grid binner.n_bins=10,20,50
      python -m skage tune UTKFace/ --jobs 2 --grid classifier.lr=0.01,0.03 \\
        --grid "classifier.hidden_layer_sizes=(256,),(512,),(200,200)"
      python -m skage tune faces.csv --group-column person --folds 3 \\
        --preset accurate --grid "classifier.augment=None,Jitter(n_copies=2)"
    """
    with clear_errors(), ended_by_signals():
        from sklearn.model_selection import ParameterGrid

        candidates = list(ParameterGrid(grid))
        models = [recipe.model(**candidate) for candidate in candidates]
        table = _beside(output, ".search.csv") if table is None else table
        journal = Journal(_beside(output, ".search.jsonl"))
        _check_apart({"-o": output, "--table": table, "the file of finished fits": journal.path})
        faces = read_faces(data, **options)
        inputs = [data, *faces.data, *map(pretrained_file, models)]
        check_output(output, inputs)
        check_output(table, inputs, "A table", "--table")
        check_output(journal.path, inputs)
        sides = [crop_side(model) for model in models]
        faces = leave_out_unreadable(
            faces, cropped(faces.data, sides[0], **options), options["on_error"]
        )
        crops = {side: cropped(faces.data, side, **options) for side in set(sides)}
        images = [crops[side] for side in sides]
        settings = crop_settings(**options)
        search = Search(models, images, faces, folds, options["random_state"], settings)
        for model in models:
            check_fit(model, search.smallest_fold)
            model.set_params(classifier__verbose=int(options["progress"] and jobs == 1))
        found = make_table(candidates, search.run(journal, jobs, options["progress"]))
        with replacing(table, "w", encoding="utf-8", newline="") as opened:
            found.round(4).to_csv(opened, index=False)
        _show(found, search.median_mae())
        best = found.index[0]
        model = recipe.model(**candidates[best]).fit(
            images[best], faces.target, groups=faces.groups
        )
        save_model(model, output, sides[best], **options)
    n_read = len(faces.data) - model.classifier_.n_skipped_
    click.echo(
        f"The best one, fitted to {count(n_read, 'image')}: "
        f"{click.format_filename(output)}\nAll candidates: {click.format_filename(table)}"
    )


def _beside(output: Path, ending: str) -> Path:
    """The file beside the model file with its name and another ending."""
    name = output.stem if output.suffix == ".skage" else output.name
    return output.with_name(name + ending)


def _check_apart(files: dict[str, Path]) -> None:
    """Refuse files of which one would replace another."""
    for (option, file), (other, path) in combinations(files.items(), 2):
        if os.path.realpath(file) == os.path.realpath(path):
            raise ValueError(f"{option} and {other} are the same file, {file}. Name another one.")


def _show(found: Any, median_mae: float) -> None:
    """The best candidates, beside the error that needs no model."""
    written = {"mae": "{:.2f}".format, "std": "{:.2f}".format, "seconds": "{:.1f}".format}
    click.echo(found.head(_SHOWN).to_string(index=False, formatters=written))
    if len(found) > _SHOWN:
        click.echo(f"and {count(len(found) - _SHOWN, 'candidate')} more.")
    click.echo(f"Mean absolute error of always predicting the median age: {median_mae:.2f} years.")
    parameters = found.drop(columns=["rank", "mae", "std", "seconds"]).iloc[0]
    best = " ".join(f"--set {shlex.quote(f'{name}={value}')}" for name, value in parameters.items())
    click.echo(f"Best: {best}")
