"""The command line: ``python -m skage demo | train | predict | cache``."""

from __future__ import annotations

import csv
import os
import re
import shlex
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import click

from .. import __version__
from .._files.paths import replacing, resolve_path

# torch and scikit-learn are imported inside the commands: help must not wait for them.
# An option's Python name is the parameter that it sets, so that messages about the
# parameter can be told of the option; see `_in_shell`.

_SHOWN = 10  # files that a message names
_SECONDS = 2.0  # that images are predicted for, at least, before their ages are written
# What stands in the shell for a value that is not text.
_WORDS = {
    "weights": {"None": "none"},
    "hidden_layer_sizes": {"None": "vgg16"},
    "detector": {"None": "no"},
    "on_no_face": {"'nan'": "skip"},
}


class _Path(click.Path):
    """A path as it was given, but with ~ expanded; an empty one is refused."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            resolved = resolve_path(value, param.opts[-1] if param.opts[-1][0] == "-" else "DATA")
        except ValueError as error:
            raise click.ClickException(str(error)) from error
        return super().convert(resolved if os.fsdecode(value)[0] == "~" else value, param, ctx)


_FILE = _Path(dir_okay=False, path_type=Path)
_DATA = _Path(exists=True, path_type=Path)
_PROGRESS = click.option(
    "--progress/--no-progress",
    default=lambda: sys.stderr.isatty(),
    show_default="on a terminal",
    help="Show progress bars.",
)
_CACHE = click.option(
    "--cache",
    "feature_cache",
    type=_Path(),
    help='Folder that keeps activations for later; "auto" is your cache folder.',
)
_FACE_OPTIONS = (
    click.option(
        "--crop",
        "detector",
        type=click.Choice(["no", "haar", "yunet"]),
        default="no",
        help="Find the face with this detector, and cut it out.",
    ),
    click.option(
        "--margin",
        type=click.FloatRange(0, 10),
        default=0.4,
        help="Share of the face's width and height that is added on each side; with --crop.",
    ),
    click.option(
        "--no-face",
        "on_no_face",
        type=click.Choice(["skip", "whole"]),
        default="skip",
        help="Leave an image without a face out, or take all of it; with --crop.",
    ),
    click.option(
        "--face-model",
        "model_file",
        type=_Path(exists=True),
        help="File of yunet; downloaded if not given.",
    ),
)


def _face_options(command: Any) -> Any:
    """What `_cropped` takes."""
    for option in reversed(_FACE_OPTIONS):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="skage")
def main() -> None:
    """Estimate a person's age from a face image.

    Try it at once, without data: python -m skage demo
    """


@main.command()
@click.option("-o", "--output", type=_FILE, default="skage-demo.png", help="Picture to write.")
@click.option("--seed", "random_state", default=0, help="Of the faces and the network.")
@_PROGRESS
def demo(output: Path, random_state: int, progress: bool) -> None:
    """Train and test on drawn faces, without any download, in a minute or two."""
    with _clear_errors():
        _check_output(output)
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
@click.argument("data", type=_DATA)
@click.option("-o", "--output", type=_FILE, default="age.skage", help="Model file to write.")
@click.option(
    "--weights",
    type=_Path(),
    default="imagenet",
    help='"imagenet", "none", or a file of weights or of a model.',
)
@click.option("--backbone", default="vgg16", help='"vgg11" ... "vgg19", or each with "_bn".')
@click.option("--trainable", default="classifier", help='From where to train: "head" ... "all".')
@click.option(
    "--hidden",
    "hidden_layer_sizes",
    default="256",
    help='Widths of fresh layers, as "256" or "200,200"; "vgg16" for its own two.',
)
@click.option(
    "--components",
    "n_components",
    type=int,
    help="Compress the activations to so many; wants --lr 0.02.",
)
@click.option("--bins", "n_bins", default=20, help="Number of age bins.")
@click.option("--strategy", type=click.Choice(["balanced", "uniform"]), default="balanced")
@click.option(
    "--encoding",
    type=click.Choice(["hard", "gaussian", "sord", "two_hot"]),
    default="hard",
    help="What is learned of an age.",
)
@click.option("--sigma", default=3.0, help='Years, of "gaussian" and "sord".')
@click.option("--loss", default="cross_entropy", help='A term of skage.losses; "l1" regresses.')
@click.option("--optimizer", type=click.Choice(["sgd", "adam", "adamw"]), default="sgd")
@click.option("--schedule", "lr_schedule", type=click.Choice(["step", "one_cycle"]), default="step")
@click.option("--image-size", default=224, help="Side in pixels.")
@click.option(
    "--copies",
    "n_copies",
    type=click.IntRange(0),
    default=0,
    help="Jittered copies of each training image.",
)
@click.option("--mirror", "test_augment", is_flag=True, help="Average with the mirror image.")
@click.option("--members", "n_members", default=1, help="Networks of an ensemble.")
@click.option("--lr", default=2e-3, help="Learning rate of the first epoch.")
@click.option("--weight-decay", default=0.2, help="L2 penalty.")
@click.option("--batch-size", default=128)
@click.option("--epochs", "max_epochs", default=20, help="The learning rate falls by 10 every 10.")
@_CACHE
@click.option("--checkpoint", type=_Path(), help="Folder from which a killed training goes on.")
@click.option(
    "--on-error",
    type=click.Choice(["raise", "skip"]),
    default="raise",
    help="What an unreadable image does: stop the training before its work, or be left out.",
)
@_face_options
@click.option("--path-column", "path", default="path", help="Column of a CSV.")
@click.option("--age-column", "age", default="age", help="Column of a CSV, in years.")
@click.option("--seed", "random_state", default=0)
@_PROGRESS
def train(data: Path, output: Path, **options: Any) -> None:
    """Train on DATA and write a model file.

    DATA is a UTKFace folder (ages in the file names) or a CSV with a column of
    image paths, relative to it, and one of ages in years.

    A tenth of the images is held out to measure the error while it trains.
    """
    with _clear_errors():
        faces = _read_faces(data, options["path"], options["age"], options["on_error"])
        _check_output(output, [data, *faces.data])
        from .. import AgeBinner, BinnedAgeRegressor, Runtime, VGG16Classifier
        from ..augment import Jitter
        from ..schedules import OneCycle, StepDecay

        classifier = VGG16Classifier(
            weights=_value("weights", options["weights"]),
            backbone=options["backbone"],
            trainable=options["trainable"],
            hidden_layer_sizes=_sizes(options["hidden_layer_sizes"]),
            n_components=options["n_components"],
            image_size=options["image_size"],
            augment=Jitter(options["n_copies"]) if options["n_copies"] else None,
            test_augment="mirror" if options["test_augment"] else None,
            n_members=options["n_members"],
            loss=options["loss"],
            optimizer=options["optimizer"],
            lr_schedule=OneCycle() if options["lr_schedule"] == "one_cycle" else StepDecay(),
            lr=options["lr"],
            weight_decay=options["weight_decay"],
            batch_size=options["batch_size"],
            max_epochs=options["max_epochs"],
            runtime=Runtime(
                feature_cache=options["feature_cache"], checkpoint=options["checkpoint"]
            ),
            on_error=options["on_error"],
            random_state=options["random_state"],
            verbose=int(options["progress"]),
        )
        binner = AgeBinner(
            options["n_bins"],
            strategy=options["strategy"],
            encoding=options["encoding"],
            sigma=options["sigma"],
        )
        images = _cropped(faces.data, options["image_size"], **options)
        model = BinnedAgeRegressor(classifier, binner).fit(images, faces.target)
        _save(model, output)
    n_read = len(faces.data) - model.classifier_.n_skipped_
    click.echo(f"Trained on {_count(n_read, 'image')}. Model: {click.format_filename(output)}")
    _echo_validation(model.classifier_, faces.target)


@main.command()
@click.argument("data", type=_DATA, nargs=-1, required=True)
@click.option(
    "-m",
    "--model",
    "model_path",
    type=_FILE,
    default="age.skage",
    help="Model file; also an original DEX model (.caffemodel, .onnx).",
)
@click.option(
    "-o", "--output", type=_FILE, default="ages.csv", help='CSV to write; "-" is standard output.'
)
@click.option(
    "--coverage",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.9,
    help="Of the interval from low to high.",
)
@_CACHE
@_face_options
@click.option("--path-column", "path", default="path", help="Column of a CSV.")
@_PROGRESS
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
    """
    with _clear_errors():
        paths = [found for given in data for found in _find_images(given, path)]
        _check_output(output, [*data, model_path, *paths])
        from .._models.dex import load_dex
        from .._models.skagefile import load

        is_original = model_path.suffix.lower() in (".caffemodel", ".onnx")
        model: Any = load_dex(model_path) if is_original else load(model_path)
        model.classifier_.set_params(
            on_error="skip", runtime__feature_cache=feature_cache, verbose=0
        )
        size = model.classifier_.image_size_
        images = _cropped(paths, size, feature_cache=feature_cache, **face_options)
        try:
            errors = _predict(model, paths, images, output, coverage, progress)
        except OSError as error:
            if error.errno is None or error.filename or isinstance(error, BrokenPipeError):
                raise
            raise OSError(f"{output} cannot be written: {error.strerror}.") from error
        _tell_errors(errors, len(paths))
    where = "" if _is_shell(output) else f" Ages: {click.format_filename(output)}"
    click.echo(f"{_summary(errors, len(paths))}.{where}", err=_is_shell(output))
    if len(errors) == len(paths):
        click.get_current_context().exit(1)


@main.group()
def cache() -> None:
    """Look at, bound and empty the store that --cache keeps."""


_FOLDER = click.option(
    "--folder",
    "feature_cache",
    type=_Path(),
    default="auto",
    help='Of the store; "auto" is your cache folder.',
)
_YES = click.option("-y", "--yes", is_flag=True, help="Delete without asking.")


@cache.command()
@_FOLDER
def info(feature_cache: str) -> None:
    """Say what the store holds."""
    with _opened_store(feature_cache) as store:
        _echo_size(store)
        for holding in store.holdings():
            last_used = datetime.fromtimestamp(holding.last_used).strftime("%Y-%m-%d %H:%M")
            click.echo(
                f"  {holding.n_entries:9,} x {holding.label}: {_told_size(holding.n_bytes)}, last "
                f"used {last_used}"
            )


@cache.command()
@_FOLDER
@_YES
def clear(feature_cache: str, yes: bool) -> None:
    """Delete all that the store holds."""
    with _clear_errors():
        from .._files.store import clear_store, store_file

        file = store_file(feature_cache)
        if not os.path.exists(file):
            raise ValueError(f"There is no feature cache in {os.path.dirname(file)!r} yet.")
        size = _told_size(os.path.getsize(file))
        _confirm(f"Delete the {size} in {os.path.dirname(file)}?", yes)
        clear_store(feature_cache)
    click.echo(f"{size} deleted.")


@cache.command()
@click.argument("size")
@_FOLDER
@_YES
def limit(size: str, feature_cache: str, yes: bool) -> None:
    """Let the store grow to SIZE, such as 50GB; what was not used for longest goes."""
    with _clear_errors():
        n_bytes = _bytes(size)
    with _opened_store(feature_cache, make=True) as store:
        if excess := store.excess(n_bytes):
            going, held = _told_size(excess), _told_size(store.n_bytes)
            _confirm(f"Delete {going} of the {held} in {store.folder}?", yes)
        store.limit = n_bytes
        _echo_size(store)


def _confirm(question: str, yes: bool) -> None:
    """Ask, or refuse where nobody can answer."""
    if yes:
        return
    if not _may_ask():
        raise ValueError(f"{question} Nobody can be asked, so nothing is deleted: pass --yes.")
    click.confirm(question, abort=True)


def _may_ask() -> bool:
    return sys.stdin.isatty()


def _echo_size(store: Any) -> None:
    click.echo(f"{store.folder}: {_told_size(store.n_bytes)} of at most {_told_size(store.limit)}")


@contextmanager
def _opened_store(folder: str, make: bool = False) -> Iterator[Any]:
    """A store that can be used, else a clear error."""
    with _clear_errors():
        from .._files.store import open_existing, open_store

        warnings.simplefilter("ignore")  # of what the error says
        opened: Any = open_store(folder) if make else open_existing(folder)
        with opened as store:
            if not store.usable:
                raise ValueError(
                    f"The feature cache in {store.folder!r} cannot be used: {store.problem}."
                )
            yield store


_UNITS = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "KB": 10**3}


def _bytes(size: str) -> int:
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+) ?([TGMK]B)", size.strip().upper())
    if match is None:
        raise ValueError(f"{size!r} is not a size with its unit, such as 500MB, 20GB or 1.5TB.")
    return int(float(match[1]) * _UNITS[match[2]])


def _told_size(n_bytes: int) -> str:
    unit = next((unit for unit, factor in _UNITS.items() if n_bytes >= factor), "KB")
    return f"{n_bytes / _UNITS[unit]:.1f} {unit.replace('K', 'k')}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Show what the user can mend as one line, rather than a traceback."""

    def show(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        _tell(f"Warning: {_in_shell(str(message))}")

    if sys.flags.optimize > 1:
        raise click.ClickException(
            "skorch needs the docstrings that python -OO removes. Run Python without -OO."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = show
            yield
    except BrokenPipeError:
        raise  # click ends quietly when nobody reads its output any more
    except (ValueError, OSError, ImportError, csv.Error, sqlite3.Error) as error:
        raise click.ClickException(_in_shell(str(error).strip())) from error


def _tell(message: str) -> None:
    """Write a line to standard error, above a progress bar if there is one."""
    from tqdm.auto import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        click.echo(message, err=True)


# As Python writes a parameter: text, a tuple, or a number or name, which no dot ends.
_WRITTEN = r"""'[^']*'|"[^"]*"|\([^()]*\)|[-+\w.]*\w"""
_NOT_IN_A_PATH = r"(?<![\w/.'\"-])"
_NOR_BEFORE_ONE = r"(?![\w/]|\.\w)"


def _in_shell(message: str) -> str:
    """A message about parameters as one about the options that set them.

    The options are those of the command that runs. A parameter is told from a word by
    the value after it (``weights='vgg16.pth'``), or by its form (``feature_cache``).
    """
    command = click.get_current_context().command
    options = {p.name: p for p in command.params if isinstance(p, click.Option) and p.name}

    def name(match: re.Match) -> str:
        return options[match[1]].opts[-1] if match[1] in options else match[0]

    def assignment(match: re.Match) -> str:
        parameter, value = match[1], match[2]
        if parameter not in options:
            return match[0]
        option = options[parameter].opts[-1]
        word = _WORDS.get(parameter, {}).get(value)
        if value is None or options[parameter].is_flag:
            return option
        if word is None and value == "None":
            return f"no {option}"
        return f"{option} {word or shlex.quote(_plain(value))}"

    def ordered(match: re.Match) -> str:
        return f"{{{', '.join(sorted(match[1].split(', ')))}}}"

    message = re.sub(r"The '(\w+)' parameter of \w+(?= must)", name, message)
    message = re.sub(r"(?<=among )\{([^{}]*)\}", ordered, message)  # scikit-learn's order varies
    message = re.sub(rf"(\w+)=({_WRITTEN}) or None\b", r"\1=\2 or \1=None", message)
    message = re.sub(rf"{_NOT_IN_A_PATH}(\w+)=({_WRITTEN})?", assignment, message)
    message = re.sub(rf"{_NOT_IN_A_PATH}(lr|\w+_\w+){_NOR_BEFORE_ONE}", name, message)
    message = re.sub(r" or (None|an array-like)(?=\. Got)", "", message)
    return re.sub(rf"{_NOT_IN_A_PATH}None(?! of\b){_NOR_BEFORE_ONE}", "none", message)


def _plain(value: str) -> str:
    """A value that Python writes, as the shell takes it."""
    if value[0] == "(":
        return value.strip("()").replace(" ", "").rstrip(",")
    return value[1:-1] if value[0] in "'\"" else value


def _value(parameter: str, text: str) -> str | None:
    """What an option's text stands for, which may be None."""
    return None if text == _WORDS[parameter]["None"] else text


def _sizes(text: str) -> tuple[int, ...] | None:
    if _value("hidden_layer_sizes", text) is None:
        return None
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError(
            f'--hidden {text!r} is not a list of widths such as "256" or "200,200".'
        ) from None


def _is_shell(output: Path) -> bool:
    return output == Path("-")


def _check_output(output: Path, inputs: Iterable[str | Path] = ()) -> None:
    """Fail before the work rather than after it, and keep the user's data."""
    if _is_shell(output):
        return
    folder = output.parent
    if output.exists():
        for given in inputs:
            if os.path.exists(given) and os.path.samefile(output, given):
                raise ValueError(f"{output} is one of the inputs; name another file with -o.")
        if not os.access(output, os.W_OK):
            raise ValueError(f"{output} cannot be written: you may not write it.")
        if not output.is_file():  # a device or a pipe
            return
        folder = Path(os.path.realpath(output)).parent
    if not folder.is_dir():
        raise ValueError(f"{output} cannot be written: there is no folder {folder}.")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{output} cannot be written: you may not write in {folder}.")


def _cropped(
    paths: list[str],
    size: int,
    *,
    detector: str,
    margin: float,
    on_no_face: str,
    model_file: str | None,
    feature_cache: str | None,
    **others: Any,
) -> Any:
    """The paths, or the faces cut out of them."""
    if detector == "no":
        return paths
    from ..faces import FaceCropper

    return FaceCropper(
        detector,
        margin=margin,
        size=size,
        on_no_face="nan" if on_no_face == "skip" else "whole",
        model_file=model_file,
        feature_cache=feature_cache,
    ).transform(paths)


def _save(model: Any, output: Path) -> None:
    """Write the model, elsewhere if need be: its training may have taken days."""
    try:
        model.save(output)
    except OSError as error:
        rescued = Path(tempfile.mkdtemp(prefix="skage-"), output.name)
        model.save(rescued)
        raise OSError(f"{error} The model is in {rescued} instead.") from error


def _echo_validation(classifier: Any, ages: Any) -> None:
    """The error on the images held out, if there are any, beside one that needs no model."""
    import numpy as np

    last = [row for row in classifier.history_ if row["epoch"] == classifier.max_epochs]
    found = [row["valid_mae"] for row in last if "valid_mae" in row]
    if not found:
        return
    constants = [
        np.abs(ages[rows] - np.median(np.delete(ages, rows))).mean()
        for rows in classifier.held_out_
    ]
    n_images = _count(len(classifier.held_out_[0]), "image")
    click.echo(
        f"  MAE on {n_images} held out of training      {np.mean(found):6.2f} years\n"
        f"  MAE there of always saying the median age  {np.mean(constants):6.2f} years"
    )


def _find_images(data: Path, path_column: str) -> list[str]:
    """The images that an argument names: itself, those in it, or those that it lists."""
    from .._images.reading import has_image_suffix, readable

    if data.is_dir():
        return _images_in(data)
    if has_image_suffix(data) or readable([data])[0]:
        return [os.fspath(data)]
    from ..datasets._table import read_rows

    try:
        return read_rows(data, {"path": path_column}).frame["path"].tolist()
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{data} is neither an image that can be read nor a CSV in UTF-8: {error}."
        ) from error


def _images_in(folder: Path) -> list[str]:
    from .._images.reading import has_image_suffix
    from ..datasets._rows import files

    found, others = [], []
    for path in files(folder):
        name = path.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in name.parts)
        if has_image_suffix(path) and not is_hidden:
            found.append(os.fspath(path))
        else:
            others.append(click.format_filename(name))
    more = ", ..." if len(others) > _SHOWN else ""
    named = ", ".join(others[:_SHOWN]) + more
    if not found:
        raise ValueError(f"{folder} holds no image; it holds {named or 'no file at all'}.")
    if others:
        which = (
            "is hidden or not an image was" if len(others) == 1 else "are hidden or not images were"
        )
        _tell(f"{_count(len(others), 'file')} in {folder} that {which} left out: {named}")
    return found


def _read_faces(data: Path, path: str, age: str, on_error: str) -> Any:
    """The paths and ages of a folder or a CSV, and a line on what is left out of them."""
    from ..datasets import load_table, load_utkface

    if data.is_dir():
        faces = load_utkface(data)
    else:
        faces = load_table(data, path=path, age=age, on_error=on_error)
    if faces.dropped:
        told = "; ".join(f"{_count(n, 'file')} ({reason})" for reason, n in faces.dropped.items())
        _tell(f"Left out of {data}: {told}")
    return faces


def _predict(
    model: Any, paths: list[str], images: Any, output: Path, coverage: float, progress: bool
) -> list[Any]:
    """Write the ages as they come; return what is wrong with the images without."""
    from tqdm.auto import tqdm

    # Each chunk would tell of its own.
    warnings.filterwarnings("ignore", r"\d+ of \d+ images .* get NaN")
    errors: list[Any] = []
    n_written = 0
    with _ended_by_signals(), _opened_output(output) as file:
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
                    if not _is_shell(output) and not os.path.exists(file.name):
                        raise FileNotFoundError(f"The folder of {output} is gone.")
                    n_written = chunk.stop
                    missing = [i for i, row in enumerate(rows, chunk.start) if row[0] != row[0]]
                    errors += [_error_of(images, position) for position in missing]
                    bar.update(len(rows))
        except BaseException:
            if n_written and not _is_shell(output) and os.path.exists(file.name):
                _tell(
                    f"The ages of the first {n_written:,} of {_count(len(paths), 'image')} are in "
                    f"{click.format_filename(file.name)}"
                )
            raise
    return errors


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let the signals that ask a process to end raise, so that it can say what it leaves."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone
        return
    before = [signal.signal(number, end) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _opened_output(output: Path) -> AbstractContextManager[IO[str]]:
    # Paths go out with the bytes that they have in the file system, in UTF-8 or not.
    how: dict[str, Any] = {"encoding": "utf-8", "errors": sys.getfilesystemencodeerrors()}
    if _is_shell(output):
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


def _error_of(images: Any, position: int) -> Any:
    """What is wrong with an image that has no prediction."""
    from .._images.reading import ImageError, describe, digest_and_decoder

    try:
        digest_and_decoder(images[position], position)[1](1)
    except ImageError as error:
        return error
    return ImageError(f"{describe(images[position], position)} could not be read in its turn.")


def _tell_errors(errors: Sequence[Any], n_images: int) -> None:
    from .._images.reading import summarise

    if errors:
        _, shown = summarise(errors, _SHOWN)
        more = [f"and {len(errors) - _SHOWN:,} more."] if len(errors) > _SHOWN else []
        _tell(
            "\n  ".join(
                [
                    f"Warning: {len(errors):,} of {_count(n_images, 'image')} without an age:",
                    *shown,
                    *more,
                ]
            )
        )


def _summary(errors: Sequence[Any], n_images: int) -> str:
    if not errors:
        return f"{_count(n_images, 'image')} predicted"
    fates = {"show no face": "showed no face"}
    counts = Counter(fates.get(error.what, "could not be read") for error in errors)
    others = ", ".join(f"{number:,} {fate}" for fate, number in counts.items())
    return f"{n_images - len(errors):,} of {_count(n_images, 'image')} predicted; {others}"
