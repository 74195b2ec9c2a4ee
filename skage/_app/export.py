"""The command ``python -m skage export``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import click

from .data import data_options, find_images, is_table, read_faces
from .shell import (
    DATA,
    FILE,
    check_output,
    clear_errors,
    count,
    cropped,
    face_options,
    refuse_idle,
)


@click.command()
@click.argument("model_path", type=FILE, metavar="MODEL")
@click.option(
    "-o",
    "--output",
    type=FILE,
    help="ONNX file to write.  [default: the name of MODEL, ending in .onnx]",
)
@click.option(
    "--coverage",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.9,
    help="Probability between the bounds of the interval.",
)
@click.option(
    "--int8", is_flag=True, help="Multiply 8-bit integers: a quarter of the size, and faster."
)
@click.option(
    "--calibrate",
    type=DATA,
    metavar="DATA",
    help="With --int8: images that show the range of each layer, at least 16. If their ages are "
    "known, the change of the error is told.",
)
@data_options
@face_options
def export(
    model_path: Path,
    output: Path | None,
    coverage: float,
    int8: bool,
    calibrate: Path | None,
    **options: Any,
) -> None:
    """Write MODEL as an ONNX file, from pixels to ages.

    The file is checked against the model. skage predicts with it, as do all
    programs that run ONNX.

    DATA is a folder of images; a CSV with a column of paths, and of ages in years
    if they are known; or what --age-pattern or --loader says. Crop as the model's
    training images were cropped.

    \b
    Examples:
      python -m skage export age.skage -o age.onnx
      python -m skage export age.skage -o small.onnx --int8 --calibrate faces.csv
    """
    with clear_errors():
        if int8 != (calibrate is not None):
            raise ValueError("--int8 and --calibrate DATA go together. Pass both, or neither.")
        if calibrate is None:
            refuse_idle("without --calibrate", *("loader", "age_pattern", "path", "age"))
            refuse_idle("without --calibrate", "detector")
        output = model_path.with_suffix(".onnx") if output is None else output
        check_output(output, [model_path], "An ONNX file")
        from .._models.card import read_card
        from .._models.exported.header import is_exported
        from .._models.load import load
        from .._unwrap import image_classifiers, unwrap

        model = unwrap(load(model_path))[0]
        images, ages = None, None
        if calibrate is not None:
            paths, ages = _read(calibrate, options)
            check_output(output, [calibrate, *paths], "An ONNX file")
            size = max(classifier.resized_ for classifier in image_classifiers(model))
            images = cropped(paths, size, feature_cache=None, **options)
        card = None if is_exported(model_path) else read_card(model_path)
        try:
            model.export(output, coverage=coverage, int8_images=images, int8_ages=ages, card=card)
        except TypeError as error:
            raise ValueError(str(error)) from error
        [written] = image_classifiers(load(output))
        found = written.quantisation_
    click.echo(f"Model: {click.format_filename(output)}, {output.stat().st_size / 1e6:.1f} MB")
    if found is not None:
        click.echo(
            f"  8-bit integers changed the ages of {count(found.n_images, 'image')} by "
            f"{found.mean_change:.2f} years on average, {found.largest_change:.2f} at most"
        )
        if found.mae is not None:
            click.echo(f"  MAE on them {found.mae:.2f} years, {found.mae_before:.2f} before")


def _read(data: Path, options: dict[str, Any]) -> tuple[list[str], Any]:
    """The images to calibrate with, and their ages if they are known."""
    is_labelled = options["loader"] is not None or options["age_pattern"] is not None
    if is_labelled or (is_table(data) and options["age"] in _columns(data)):
        faces = read_faces(data, on_error="raise", **options)
        return faces.data, faces.target
    return find_images(data, options["path"]), None


def _columns(table: Path) -> list[str]:
    with open(table, encoding="utf-8-sig", errors="replace", newline="") as file:
        return next(csv.reader(file), [])
