"""The command ``python -m skage predict``."""

from __future__ import annotations

import csv
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import click

from .._files.paths import replacing
from .data import error_of, find_images, is_table, listed
from .shell import (
    DATA,
    FILE,
    cache_option,
    check_output,
    clear_errors,
    count,
    cropped,
    ended_by_signals,
    face_options,
    is_shell,
    progress_option,
    refuse_idle,
    tell,
)

_SECONDS = 2.0  # that images are predicted for, at least, before their ages are written


@click.command()
@click.argument("data", type=DATA, nargs=-1, required=True)
@click.option(
    "-m",
    "--model",
    "model_path",
    type=FILE,
    default="age.skage",
    help="Model file to predict with, also an original DEX model (.caffemodel, .onnx).",
)
@click.option(
    "-o", "--output", type=FILE, default="ages.csv", help='CSV to write; "-" is standard output.'
)
@click.option(
    "--coverage",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.9,
    help="Probability between the bounds of the interval, low and high.",
)
@cache_option
@face_options
@click.option(
    "--path-column",
    "path",
    default="path",
    help="Column of a CSV that contains the paths of images.",
)
@progress_option
def predict(
    data: tuple[Path, ...],
    model_path: Path,
    output: Path,
    coverage: float,
    feature_cache: str | None,
    path: str,
    progress: bool,
    **face_options: Any,
) -> None:
    """Predict the ages of the images in DATA and write a CSV.

    DATA are images, folders of images, and CSVs with a column of paths. The
    columns are path, age, std, low, high, in years, empty for an image that
    cannot be read. Crop as the model's training images were cropped.

    Ages are written as they come, to a file named .partial beside the output,
    whose place it takes at the end. If the work is stopped, it stays.

    The CSV is in UTF-8. A file name that is not is written with the bytes that
    it has: Python's open(..., errors="surrogateescape") reads a path that opens,
    as does pandas.read_csv(..., encoding_errors="surrogateescape").

    The exit status is 1 if no image could be predicted.

    \b
    Examples:
      python -m skage predict photos/ more.jpg -m age.skage -o ages.csv
      python -m skage predict faces.csv --path-column file --crop yunet
      python -m skage predict face.jpg -o -
    """
    with clear_errors():
        if not any(map(is_table, data)):
            refuse_idle("unless DATA has a CSV", "path")
        paths = [found for given in data for found in find_images(given, path)]
        if not is_shell(output):
            check_output(output, [*data, model_path, *paths])
        model, size = load_model(model_path, feature_cache)
        images = cropped(paths, size, feature_cache=feature_cache, **face_options)
        try:
            errors = _predict(model, paths, images, output, coverage, progress)
        except OSError as error:
            if error.errno is None or error.filename or isinstance(error, BrokenPipeError):
                raise
            raise OSError(f"{output} cannot be written: {error.strerror}.") from error
        if errors:
            n_images = count(len(paths), "image")
            tell(f"Warning: {len(errors):,} of {n_images} without an age:{listed(errors)}")
    where = "" if is_shell(output) else f" Ages: {click.format_filename(output)}"
    click.echo(f"{_summary(errors, len(paths))}.{where}", err=is_shell(output))
    if len(errors) == len(paths):
        click.get_current_context().exit(1)


def load_model(path: Path, feature_cache: str | None) -> tuple[Any, int]:
    """A model that predicts NaN for unreadable images, and the side of the crops it takes."""
    from .._models.dex import load_dex
    from .._models.skagefile import load
    from .._unwrap import image_classifiers

    is_original = path.suffix.lower() in (".caffemodel", ".onnx")
    model: Any = load_dex(path) if is_original else load(path)
    classifiers = list(image_classifiers(model))
    for classifier in classifiers:
        classifier.set_params(on_error="skip", runtime__feature_cache=feature_cache, verbose=0)
    return model, max(classifier.resized_ for classifier in classifiers)


def _predict(
    model: Any, paths: list[str], images: Any, output: Path, coverage: float, progress: bool
) -> list[Any]:
    """Write the ages as they come; return what is wrong with the images without."""
    from tqdm.auto import tqdm

    # Each chunk would tell of its own.
    warnings.filterwarnings("ignore", r"\d+ of \d+ images .* get NaN")
    errors: list[Any] = []
    n_written = 0
    with ended_by_signals(), _opened_output(output) as file:
        writer = csv.writer(file)
        try:
            with tqdm(
                total=len(paths), desc="images", unit="image", disable=not progress, leave=False
            ) as bar:
                for chunk in _chunks(len(paths)):
                    rows = _rows(model, images[chunk], coverage)
                    if not n_written:
                        writer.writerow(["path", "age", "std", "low", "high"])
                    for path, row in zip(paths[chunk], rows, strict=True):
                        writer.writerow([path, *("" if v != v else f"{v:.2f}" for v in row)])
                    file.flush()
                    if not is_shell(output) and not os.path.exists(file.name):
                        raise FileNotFoundError(f"The folder of {output} is gone.")
                    n_written = chunk.stop
                    missing = [i for i, row in enumerate(rows, chunk.start) if row[0] != row[0]]
                    errors += [error_of(images, position) for position in missing]
                    bar.update(len(rows))
        except BaseException:
            if n_written and not is_shell(output) and os.path.exists(file.name):
                tell(
                    f"The ages of the first {n_written:,} of {count(len(paths), 'image')} are in "
                    f"{click.format_filename(file.name)}"
                )
            raise
    return errors


def _opened_output(output: Path) -> AbstractContextManager[IO[str]]:
    # Paths go out with the bytes that they have in the file system, in UTF-8 or not.
    how: dict[str, Any] = {"encoding": "utf-8", "errors": sys.getfilesystemencodeerrors()}
    if is_shell(output):
        return click.open_file("-", "w", **how)
    return replacing(output, "w", keep=True, newline="", **how)


def _chunks(n_images: int) -> Iterator[slice]:
    """Runs of images, each of which takes some seconds."""
    size, start = 32, 0
    while start < n_images:
        begun = time.monotonic()
        yield slice(start, min(start + size, n_images))
        start += size
        if time.monotonic() - begun < _SECONDS:
            size *= 2


def _rows(model: Any, images: Any, coverage: float) -> Any:
    """Age, standard deviation and interval of each image, (n, 4)."""
    import numpy as np

    distribution = model.predict_dist(images)
    ages, std = model.decode_dist(distribution), model.binner_.std(distribution)
    return np.column_stack([ages, std, model.decode_interval(distribution, coverage)])


def _summary(errors: Sequence[Any], n_images: int) -> str:
    if not errors:
        return f"{count(n_images, 'image')} predicted"
    fates = {"show no face": "showed no face"}
    counts = Counter(fates.get(error.what, "could not be read") for error in errors)
    others = ", ".join(f"{number:,} {fate}" for fate, number in counts.items())
    return f"{n_images - len(errors):,} of {count(n_images, 'image')} predicted; {others}"
