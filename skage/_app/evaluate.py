"""The command ``python -m skage evaluate``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from .data import data_options, read_faces
from .predict import load_model
from .shell import (
    DATA,
    FILE,
    cache_option,
    check_output,
    clear_errors,
    cropped,
    face_options,
    progress_option,
    refuse_idle,
)


@click.command()
@click.argument("data", type=DATA, metavar="DATA")
@click.option("-m", "--model", "model_path", type=FILE, help="Model file to predict with.")
@click.option(
    "--predictions",
    type=FILE,
    help="CSV of ages that skage or another tool predicted, in place of a model.",
)
@click.option("--predicted-path", metavar="COLUMN", help="Its column of image paths.")
@click.option("--predicted-age", metavar="COLUMN", help="Its column of predicted ages.")
@click.option("-o", "--output", type=FILE, default="evaluation.html", help="Report to write.")
@click.option("--json", "json_path", type=FILE, help="JSON file of all figures to write.")
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Column of the data, such as sex, whose groups are compared. May be repeated.",
)
@click.option("--limit", type=click.FloatRange(0, min_open=True), help="Limit of age, such as 18.")
@click.option(
    "--challenge-age",
    type=click.FloatRange(0, min_open=True),
    help="With --limit: who is estimated at it or above passes.  [default: 7 years above]",
)
@click.option(
    "--coverage",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.9,
    help="Nominal coverage of the intervals.",
)
@click.option(
    "--train-data",
    type=DATA,
    help="Images trained on, read as DATA is; those that are in DATA too are counted.",
)
@click.option(
    "--variability",
    type=click.IntRange(0),
    default=0,
    help="Images to predict again after saving, mirroring and shifting them.",
)
@click.option(
    "--about",
    multiple=True,
    metavar="NAME=TEXT",
    help="A fact that the report states, such as 'licence=CC BY 4.0'. May be repeated.",
)
@click.option("--samples", type=click.IntRange(0), default=1000, help="Bootstrap samples.")
@click.option("--seed", type=int, default=0, help="Seed of the bootstrap.")
@click.option("--group-column", "group", help="Column of a CSV that names the person.")
@cache_option
@data_options
@face_options
@click.option(
    "--on-error",
    type=click.Choice(["raise", "skip"]),
    default="raise",
    help="Stop at, or leave out, a row of DATA that is not usable. Images that cannot be read "
    "are counted as images without a prediction.",
)
@progress_option
def evaluate(
    data: Path,
    model_path: Path | None,
    predictions: Path | None,
    output: Path,
    json_path: Path | None,
    by: tuple[str, ...],
    progress: bool,
    **options: Any,
) -> None:
    """Measure how wrong predicted ages are, and for whom, and write a report.

    DATA is what train takes. The report is one HTML page.

    \b
    Examples:
      python -m skage evaluate faces.csv -m age.skage --by sex --limit 18
      python -m skage evaluate UTKFace/ --predictions other.csv --by ethnicity
    """
    with clear_errors():
        if (model_path is None) == (predictions is None):
            raise ValueError("Pass either --model or --predictions.")
        about = _facts(options["about"])
        if options["limit"] is None:
            refuse_idle("without --limit", "challenge_age")
        if predictions is None:
            refuse_idle("without --predictions", "predicted_path", "predicted_age")
        else:
            refuse_idle(
                "with --predictions", "variability", "coverage", "feature_cache", "detector"
            )
        faces = read_faces(data, **options)
        inputs = [data, *faces.data, *(path for path in (model_path, predictions) if path)]
        check_output(output, inputs, "A report")
        if json_path is not None:
            check_output(json_path, inputs, "A JSON file", "--json")
            if os.path.abspath(json_path) == os.path.abspath(output):
                raise ValueError(f"--json and -o both name {output}. Name different files.")
        found, images = _predictions(model_path, predictions, faces, options)
        trained = options["train_data"] and read_faces(options["train_data"], **options)
        from ..evaluation import evaluate as evaluate_predictions

        result = evaluate_predictions(
            found,
            images,
            faces.target,
            groups=_persons(faces.frame, "tested"),
            by=_columns(faces.frame, by),
            X_train=trained.data if trained else None,
            groups_train=_persons(trained.frame, "trained") if trained else None,
            about={"data": data.name} | about,
            n_resamples=options["samples"],
            random_state=options["seed"],
            verbose=int(progress),
            **{k: options[k] for k in ("limit", "challenge_age", "coverage", "variability")},
        )
        result.to_html(output)
        if json_path is not None:
            result.to_json(json_path)
    click.echo(result)
    click.echo(f"Report: {click.format_filename(output)}")


def _predictions(
    model_path: Path | None, predictions: Path | None, faces: Any, options: dict[str, Any]
) -> tuple[Any, Any]:
    """What is evaluated, and the images that it is asked for."""
    if predictions is not None:
        from ..evaluation import read_predictions

        columns = {"path": options["predicted_path"], "age": options["predicted_age"]}
        return read_predictions(predictions, faces.data, **columns), faces.data
    assert model_path is not None
    model, size, cropper = load_model(model_path, options["feature_cache"])
    return model, cropped(faces.data, size, cropper, **options)


def _persons(frame: Any, name: str) -> Any:
    """The person of each image, a new one where it is not known; None if none is known."""
    if "person" not in frame:
        return None
    known = frame["person"].notna() & (frame["person"] != "")
    others = [f"unknown, {name} {row}" for row in range(len(frame))]
    return frame["person"].where(known, others).to_numpy()


def _columns(frame: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        if name not in frame:
            others = ", ".join(map(repr, frame.columns))
            raise ValueError(f"--by {name}: the data have no such column; they have {others}.")
    return frame[list(names)] if names else None


def _facts(given: tuple[str, ...]) -> dict[str, str]:
    for fact in given:
        if "=" not in fact:
            raise ValueError(f"--about {fact!r} is not NAME=TEXT, such as 'split=fold 4'.")
    return dict(fact.split("=", 1) for fact in given)
