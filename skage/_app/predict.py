"""The command ``python -m skage predict``."""

from __future__ import annotations

import os
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
from .rows import TEXT, Earlier, Row, as_text, find_earlier, make_row
from .shell import (
    DATA_OR_SHELL,
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

_JSON = (".jsonl", ".ndjson")
_SECONDS = 2.0  # that images are predicted for, at least, before their ages are written


@click.command()
@click.argument("data", type=DATA_OR_SHELL, nargs=-1, required=True)
@click.option(
    "-m",
    "--model",
    "model_path",
    type=FILE,
    default="age.skage",
    help="Model file to predict with: .skage, what export wrote (.onnx), or an original DEX "
    "model (.caffemodel, .onnx).",
)
@click.option(
    "-o", "--output", type=FILE, default="ages.csv", help='File to write; "-" is standard output.'
)
@click.option(
    "--format",
    "row_format",
    type=click.Choice(["csv", "jsonl"]),
    help="Rows of a CSV, or lines of JSON.  [default: by the name of the output]",
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
    row_format: str | None,
    coverage: float,
    feature_cache: str | None,
    path: str,
    progress: bool,
    **face_options: Any,
) -> None:
    """Predict the ages of the images in DATA and write a CSV or JSON lines.

    DATA are images, folders of images, CSVs with a column of paths, or "-" for
    paths on standard input, one a line. The columns are path, age, std, low,
    high, in years, empty (null) for an image that cannot be read. A model that
    was trained with --crop cuts out faces itself; for others, crop as the
    training images were cropped.

    Ages are written as they come, to a file named .partial beside the output,
    whose place it takes at the end. If the work is stopped or killed, it stays,
    and the same command goes on from there.

    The CSV is in UTF-8. A file name that is not is written with the bytes that
    it has: Python's open(..., errors="surrogateescape") reads a path that opens,
    as does pandas.read_csv(..., encoding_errors="surrogateescape").

    The exit status is 1 if no image could be predicted.

    \b
    Examples:
      python -m skage predict photos/ more.jpg -m age.skage -o ages.csv
      python -m skage predict faces.csv --path-column file --crop yunet
      find . -name '*.jpg' | python -m skage predict - -o - --format jsonl
    """
    with clear_errors():
        if not any(map(is_table, data)):
            refuse_idle("unless DATA has a CSV", "path")
        paths = [found for given in data for found in find_images(given, path)]
        kind = row_format or ("jsonl" if output.suffix.lower() in _JSON else "csv")
        if not is_shell(output):
            check_output(output, [*data, model_path, *paths])
        model, size, cropper = load_model(model_path, feature_cache)
        images = cropped(paths, size, cropper, feature_cache=feature_cache, **face_options)
        try:
            errors = _predict(model, paths, images, output, kind, coverage, progress)
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


def load_model(path: Path, feature_cache: str | None) -> tuple[Any, int, Any]:
    """A model that predicts NaN for unreadable images, the side of the crops, and its FaceCropper.

    The FaceCropper is None if the file has none.
    """
    from sklearn.pipeline import Pipeline

    from .._models.dex import load_dex
    from .._models.exported.header import is_exported
    from .._models.load import load
    from .._unwrap import image_classifiers, unwrap

    exported = is_exported(path)
    is_original = path.suffix.lower() in (".caffemodel", ".onnx") and not exported
    model: Any = load_dex(path) if is_original else load(path)
    classifiers = list(image_classifiers(model))
    if exported:
        refuse_idle("with an exported model", "feature_cache")
    for classifier in classifiers:
        classifier.set_params(on_error="skip")
        if not exported:
            classifier.set_params(runtime__feature_cache=feature_cache, verbose=0)
    cropper = model[0] if isinstance(model, Pipeline) and len(model) > 1 else None
    return unwrap(model)[0], max(classifier.resized_ for classifier in classifiers), cropper


def _predict(
    model: Any,
    paths: list[str],
    images: Any,
    output: Path,
    kind: str,
    coverage: float,
    progress: bool,
) -> list[Any]:
    """Write the ages as they come; return what is wrong with the images without."""
    from tqdm.auto import tqdm

    # Each chunk would tell of its own.
    warnings.filterwarnings("ignore", r"\d+ of \d+ images .* get NaN")
    errors: list[Any] = []
    n_written = 0

    def write(rows: list[Row]) -> None:
        nonlocal n_written
        file.write(as_text(rows, kind, header=not n_written))
        file.flush()
        if not is_shell(output) and not os.path.exists(file.name):
            raise FileNotFoundError(f"The folder of {output} is gone.")
        missing = [i for i, row in enumerate(rows, n_written) if not row[1]]
        errors.extend(error_of(images, position) for position in missing)
        n_written += len(rows)

    # Read before the new file is opened, which may have the same name.
    earlier = None
    if not is_shell(output):
        earlier = _earlier(model, images, paths, output, kind, coverage)
    with ended_by_signals(), _opened_output(output) as file:
        try:
            if earlier is not None:
                write(earlier.rows)
                if earlier.file != os.path.realpath(file.name):
                    os.remove(earlier.file)
            with tqdm(
                total=len(paths),
                initial=n_written,
                desc="images",
                unit="image",
                disable=not progress,
                leave=False,
            ) as bar:
                for chunk in _chunks(n_written, len(paths)):
                    values = _values(model, images[chunk], coverage)
                    write([make_row(*row) for row in zip(paths[chunk], values, strict=True)])
                    bar.update(len(values))
        except BaseException:
            if n_written and not is_shell(output) and os.path.exists(file.name):
                tell(
                    f"The ages of the first {n_written:,} of {count(len(paths), 'image')} are in "
                    f"{click.format_filename(file.name)}. The same command goes on from there."
                )
            raise
    return errors


def _earlier(
    model: Any, images: Any, paths: list[str], output: Path, kind: str, coverage: float
) -> Earlier | None:
    """The rows of an earlier run, if the model still predicts the last of their ages."""
    earlier = find_earlier(output, kind, paths)
    if earlier is None:
        return None
    known = [i for i, row in enumerate(earlier.rows) if row[1]]
    if known:
        last = known[-1]
        values = _values(model, images[last : last + 1], coverage)
        if make_row(paths[last], values[0]) != earlier.rows[last]:
            tell(
                f"{click.format_filename(earlier.file)} has ages of another model or other options "
                "and is left as it is. All images are predicted."
            )
            return None
    tell(f"Going on after {count(len(earlier.rows), 'image')} of an earlier run.")
    return earlier


def _opened_output(output: Path) -> AbstractContextManager[IO[str]]:
    if is_shell(output):
        return click.open_file("-", "w", **TEXT)
    return replacing(output, "w", keep=True, newline="", **TEXT)


def _chunks(start: int, n_images: int) -> Iterator[slice]:
    """Runs of images, each of which takes some seconds."""
    size = 32
    while start < n_images:
        begun = time.monotonic()
        yield slice(start, min(start + size, n_images))
        start += size
        if time.monotonic() - begun < _SECONDS:
            size *= 2


def _values(model: Any, images: Any, coverage: float) -> Any:
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
