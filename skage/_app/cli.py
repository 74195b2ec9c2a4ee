"""The command line, ``python -m skage``: its group, and the commands demo and train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .. import __version__
from .cache import cache
from .data import data_options, group_option, read_faces
from .evaluate import evaluate
from .export import export
from .info import info
from .model import Recipe, check_fit, crop_side, model_options, pretrained_file
from .predict import predict
from .serve import serve
from .shell import (
    DATA,
    FILE,
    PathType,
    cache_option,
    check_output,
    clear_errors,
    count,
    cropped,
    face_options,
    progress_option,
    save_model,
)
from .tune import tune


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="skage")
def main() -> None:
    """Estimate a person's age from a face image.

    \b
    Examples:
      python -m skage demo
      python -m skage train faces.csv -o age.skage
      python -m skage predict photos/ -m age.skage -o ages.csv
    """


@main.command()
@click.option("-o", "--output", type=FILE, default="skage-demo.png", help="Picture to write.")
@click.option("--seed", "random_state", default=0, help="Random seed of the faces and the network.")
@progress_option
def demo(output: Path, random_state: int, progress: bool) -> None:
    """Train and test on drawn faces, without data or downloads.

    It takes a minute or two, and draws what it found into a picture.

    \b
    Examples:
      python -m skage demo -o faces.png
    """
    with clear_errors():
        check_output(output, what="A picture")
        from .demo import N_FACES, check_picture, run_demo

        check_picture(output)
        click.echo(f"Drawing {N_FACES:,} faces and training VGG16 on 20 balanced age bins ...")
        result = run_demo(output, random_state=random_state, verbose=int(progress))
    click.echo(
        f"Tested on {result.n_test} faces of persons not among the {result.n_train} "
        "trained on:\n"
        f"  MAE, skage            {result.mae:5.1f} years\n"
        f"  MAE, constant median  {result.baseline_mae:5.1f} years\n"
        f"  within 5 years        {100 * result.cs5:5.1f} %\n"
        f"Picture: {click.format_filename(output)}"
    )


@main.command()
@click.argument("data", type=DATA, required=False, metavar="DATA")
@click.option("-o", "--output", type=FILE, default="age.skage", help="Model file to write.")
@model_options
@cache_option
@click.option(
    "--checkpoint", type=PathType(), help="Folder from which a training that was killed goes on."
)
@data_options
@group_option
@face_options
def train(recipe: Recipe, data: Path, output: Path, **options: Any) -> None:
    """Train on DATA and write a model file.

    DATA is a CSV with a column of image paths, relative to it, and one of ages in
    years; or a folder whose files have their ages in their names, as UTKFace's or
    as --age-pattern says; or a data set that --loader names.

    Most presets hold out some of the images, to measure the error on them.

    \b
    Examples:
      python -m skage train faces.csv -o age.skage
      python -m skage train UTKFace/ --preset accurate --set classifier.lr=0.001
      python -m skage train faces/ --age-pattern '_(?P<age>\\d+)y' --crop yunet
      python -m skage train FGNET/ --loader fgnet --cache auto
    """
    with clear_errors():
        model = recipe.model()
        faces = read_faces(data, **options)
        check_output(output, [data, *faces.data, pretrained_file(model)])
        check_fit(model, faces.target)
        side = crop_side(model)
        images = cropped(faces.data, side, **options)
        model.fit(images, faces.target, groups=faces.groups)
        n_images = count(len(faces.data) - model.classifier_.n_skipped_, "image")
        errors = _validation(model.classifier_, faces.target)
        card = {"data": f"{data.name}, {n_images}", "errors": errors}
        save_model(model, output, side, card, **options)
    click.echo(f"Trained on {n_images}. Model: {click.format_filename(output)}")
    width = max(map(len, errors), default=0)
    for name, error in errors.items():
        click.echo(f"  {name.removesuffix(', years'):<{width - 7}}  {error:6.2f} years")


main.add_command(tune)
main.add_command(predict)
main.add_command(evaluate)
main.add_command(info)
main.add_command(export)
main.add_command(serve)
main.add_command(cache)


def _validation(classifier: Any, ages: Any) -> dict[str, float]:
    """The error on the images held out, if there are any, beside one that needs no model."""
    import numpy as np

    last = [row for row in classifier.history_ if row["epoch"] == classifier.max_epochs]
    found = [row["valid_mae"] for row in last if "valid_mae" in row]
    if not found:
        return {}
    constants = [
        np.abs(ages[rows] - np.median(np.delete(ages, rows))).mean()
        for rows in classifier.held_out_
    ]
    n_images = count(len(classifier.held_out_[0]), "image")
    return {
        f"MAE on {n_images} held out of training, years": float(np.mean(found)),
        "MAE there of always saying the median age, years": float(np.mean(constants)),
    }
