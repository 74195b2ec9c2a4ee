"""The command line: ``python -m skage demo | train | predict | cache``."""

from __future__ import annotations

import csv
import os
import re
import sqlite3
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from . import __version__

# torch and scikit-learn are imported inside the commands: help must not wait for them.

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}
_MODEL = click.Path(dir_okay=False, path_type=Path)
_DATA = click.Path(exists=True, path_type=Path)
_FACE_OPTIONS = (
    click.option(
        "--crop",
        type=click.Choice(["no", "haar", "yunet"]),
        default="no",
        help="Find the face with this detector, and cut it out.",
    ),
    click.option(
        "--margin", type=click.FloatRange(0, 10), default=0.4, help="Around the face; with --crop."
    ),
    click.option(
        "--no-face",
        type=click.Choice(["skip", "whole"]),
        default="skip",
        help="Leave an image without a face out, or take all of it; with --crop.",
    ),
    click.option("--face-model", type=_DATA, help="File of yunet; downloaded if not given."),
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
@click.option("-o", "--output", type=_MODEL, default="skage-demo.png", help="Picture to write.")
@click.option("--seed", default=0, help="Of the faces and the network.")
def demo(output: Path, seed: int) -> None:
    """Train and test on drawn faces, without any download, in a minute or two."""
    with _clear_errors():
        _check_writable(output)
        from .demo import N_FACES, run_demo

        click.echo(f"Drawing {N_FACES:,} faces and training VGG16 on 20 balanced age bins ...")
        result = run_demo(output, random_state=seed, verbose=int(sys.stderr.isatty()))
    click.echo(
        f"Tested on {result.n_test} faces of persons not among the {result.n_train} "
        "trained on:\n"
        f"  MAE, skage            {result.mae:5.1f} years\n"
        f"  MAE, constant median  {result.baseline_mae:5.1f} years\n"
        f"  within 5 years        {100 * result.cs5:5.1f} %\n"
        f"Picture: {output}"
    )


@main.command()
@click.argument("data", type=_DATA)
@click.option("-o", "--output", type=_MODEL, default="age.skage", help="Model file to write.")
@click.option("--weights", default="imagenet", help='"imagenet", "none", or a weights file.')
@click.option("--backbone", default="vgg16", help='"vgg11" ... "vgg19", or each with "_bn".')
@click.option("--trainable", default="classifier", help='From where to train: "head" ... "all".')
@click.option(
    "--hidden",
    default="256",
    help='Widths of fresh layers, as "256" or "200,200"; "vgg16" for its own two.',
)
@click.option(
    "--components", type=int, help="Compress the activations to so many; wants --lr 0.02."
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
@click.option("--schedule", type=click.Choice(["step", "one_cycle"]), default="step")
@click.option("--image-size", default=224, help="Side in pixels.")
@click.option("--copies", default=0, help="Jittered copies of each training image.")
@click.option("--mirror", is_flag=True, help="Predict the average with the mirror image.")
@click.option("--members", default=1, help="Networks of an ensemble.")
@click.option("--lr", default=2e-3, help="Learning rate of the first epoch.")
@click.option("--weight-decay", default=0.2, help="L2 penalty.")
@click.option("--batch-size", default=128)
@click.option("--epochs", default=20, help="The learning rate falls by 10 every 10.")
@click.option("--cache", default=None, help='Folder for activations, or "auto".')
@click.option("--checkpoint", default=None, help="Folder from which a killed training goes on.")
@click.option(
    "--on-error",
    type=click.Choice(["raise", "skip"]),
    default="raise",
    help="What an unreadable image does.",
)
@_face_options
@click.option("--path-column", default="path", help="Of a CSV.")
@click.option("--age-column", default="age", help="Of a CSV.")
@click.option("--seed", default=0)
def train(data: Path, output: Path, **options: Any) -> None:
    """Train on DATA and write a model file.

    DATA is a UTKFace folder (ages in the file names) or a CSV with a column of
    image paths, relative to it, and one of ages in years.
    """
    with _clear_errors():
        paths, ages = _read_table(data, options["path_column"], options["age_column"])
        _check_writable(output, data)
        from . import AgeBinner, BinnedAgeRegressor, VGG16Classifier
        from .augment import Jitter

        hidden = options["hidden"]
        classifier = VGG16Classifier(
            weights=None if options["weights"] == "none" else options["weights"],
            backbone=options["backbone"],
            trainable=options["trainable"],
            hidden_layer_sizes=None if hidden == "vgg16" else _sizes(hidden),
            n_components=options["components"],
            image_size=options["image_size"],
            augment=Jitter(options["copies"]) if options["copies"] else None,
            test_augment="mirror" if options["mirror"] else None,
            n_members=options["members"],
            loss=options["loss"],
            optimizer=options["optimizer"],
            lr_schedule=options["schedule"],
            lr=options["lr"],
            weight_decay=options["weight_decay"],
            batch_size=options["batch_size"],
            max_epochs=options["epochs"],
            feature_cache=options["cache"],
            checkpoint=options["checkpoint"],
            on_error=options["on_error"],
            random_state=options["seed"],
            verbose=int(sys.stderr.isatty()),
        )
        binner = AgeBinner(
            options["n_bins"],
            strategy=options["strategy"],
            encoding=options["encoding"],
            sigma=options["sigma"],
        )
        images = _cropped(paths, options["image_size"], **options)
        model = BinnedAgeRegressor(classifier, binner).fit(images, ages)
        model.save(output)
    history = model.classifier_.history_
    last = [row["valid_mae"] for row in history if row["epoch"] == options["epochs"]]
    held_out = f"; validation MAE {sum(last) / len(last):.2f} years" if last else ""
    n_read = len(paths) - model.classifier_.n_skipped_
    click.echo(f"Trained on {n_read} images{held_out}. Model: {output}")


@main.command()
@click.argument("data", type=_DATA)
@click.option(
    "-m",
    "--model",
    "model_path",
    type=_MODEL,
    default="age.skage",
    help="Model file; also an original DEX model (.caffemodel, .onnx).",
)
@click.option("-o", "--output", type=_MODEL, default="ages.csv", help="CSV to write.")
@click.option(
    "--coverage",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.9,
    help="Of the interval from low to high.",
)
@click.option("--cache", default=None, help='Folder for activations, or "auto".')
@_face_options
@click.option("--path-column", default="path", help="Of a CSV.")
def predict(
    data: Path,
    model_path: Path,
    output: Path,
    coverage: float,
    cache: str | None,
    path_column: str,
    **face_options: Any,
) -> None:
    """Predict the ages of the images in DATA and write a CSV.

    DATA is an image, a folder of images, or a CSV with a column of paths. The
    columns are path, age, std, low, high, in years, empty for an image that
    cannot be read. Crop as the model's training images were cropped.
    """
    with _clear_errors():
        if data.is_dir() or data.suffix.lower() in _IMAGE_SUFFIXES:
            paths = _find_images(data)
        else:
            paths, _ = _read_table(data, path_column, None)
        _check_writable(output, data)
        from .binning import tails
        from .dex import load_dex
        from .modelfile import load

        if model_path.suffix in (".caffemodel", ".onnx"):
            model = load_dex(model_path)
        else:
            model = load(model_path)
        model.classifier_.set_params(
            on_error="skip", feature_cache=cache, verbose=int(sys.stderr.isatty())
        )
        size = model.classifier_.image_size_
        images = _cropped(paths, size, cache=cache, **face_options)
        distribution = model.predict_dist(images)
        columns = [
            model.decode_dist(distribution),
            model.binner_.std(distribution),
            *(model.binner_.quantile(distribution, level) for level in tails(coverage)),
        ]
        with open(output, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "age", "std", "low", "high"])
            for path, *values in zip(paths, *columns, strict=True):
                writer.writerow([path, *("" if v != v else f"{v:.2f}" for v in values)])
    click.echo(f"{len(paths)} images. Ages: {output}")


@main.group()
def cache() -> None:
    """Look at and empty the store of activations (feature_cache)."""


_FOLDER = click.option(
    "--folder", default="auto", help='Of the store; "auto" is your cache folder.'
)


@cache.command()
@_FOLDER
def info(folder: str) -> None:
    """Say what the store holds."""
    with _opened_store(folder) as store:
        _echo_size(store)
        for holding in store.holdings():
            last_used = datetime.fromtimestamp(holding.last_used).strftime("%Y-%m-%d %H:%M")
            click.echo(
                f"  {holding.n_entries:9,} x {holding.label}: {_gigabytes(holding.n_bytes)}, last "
                f"used {last_used}"
            )


@cache.command()
@_FOLDER
def clear(folder: str) -> None:
    """Delete all that the store holds."""
    with _clear_errors():
        from .store import clear_store

        n_bytes = clear_store(folder)
    click.echo(f"{_gigabytes(n_bytes)} deleted.")


@cache.command()
@click.argument("size")
@_FOLDER
def limit(size: str, folder: str) -> None:
    """Let the store grow to SIZE, such as 50GB; what was not used for longest goes."""
    with _clear_errors():
        n_bytes = _bytes(size)
    with _opened_store(folder, make=True) as store:
        store.limit = n_bytes
        _echo_size(store)


def _echo_size(store: Any) -> None:
    click.echo(f"{store.folder}: {_gigabytes(store.n_bytes)} of at most {_gigabytes(store.limit)}")


@contextmanager
def _opened_store(folder: str, make: bool = False) -> Iterator[Any]:
    """A store that can be used, else a clear error."""
    with _clear_errors():
        from .store import open_existing, open_store

        opened: Any = open_store(folder) if make else open_existing(folder)
        with opened as store:
            if not store.usable:
                raise ValueError(f"The feature cache in {store.folder!r} cannot be used.")
            yield store


def _bytes(size: str) -> int:
    units = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    match = re.fullmatch(r"([0-9.]+) ?([KMGT]?)B?", size.strip().upper())
    try:
        if match is None:
            raise ValueError
        return int(float(match[1]) * units[match[2]])
    except ValueError:
        raise ValueError(f"{size!r} is no size such as 500MB, 20GB or 1.5TB.") from None


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB"


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Show what the user can mend as one line, rather than a traceback."""

    def show(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        click.echo(f"Warning: {message}", err=True)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = show
            yield
    except (ValueError, OSError, ImportError, csv.Error, sqlite3.Error) as error:
        raise click.ClickException(str(error)) from error


def _check_writable(path: Path, source: Path | None = None) -> None:
    """Fail before the work rather than after it, and keep the user's data."""
    if source is not None and path.resolve() == source.resolve():
        raise ValueError(f"{path} is the input; name another file with -o.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"{path} cannot be written: {path.parent} must be a folder you may write.")


def _cropped(
    paths: list[str],
    size: int,
    *,
    crop: str,
    margin: float,
    no_face: str,
    face_model: Path | None,
    cache: str | None,
    **others: Any,
) -> Any:
    """The paths, or the faces cut out of them."""
    if crop == "no":
        return paths
    from .faces import FaceCropper

    return FaceCropper(
        crop,
        margin=margin,
        size=size,
        on_no_face="nan" if no_face == "skip" else "whole",
        model_file=face_model,
        feature_cache=cache,
    ).transform(paths)


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError(
            f'--hidden {text!r} is no list of widths such as "256" or "200,200".'
        ) from None


def _find_images(data: Path) -> list[str]:
    if data.is_file():
        return [os.fspath(data)]
    found = sorted(p for p in data.rglob("*") if p.suffix.lower() in _IMAGE_SUFFIXES)
    if not found:
        raise ValueError(f"{data} holds no image ({', '.join(sorted(_IMAGE_SUFFIXES))}).")
    return [os.fspath(path) for path in found]


def _read_table(
    data: Path, path_column: str, age_column: str | None
) -> tuple[list[str], list[float]]:
    """Paths, and ages if a column of them is named."""
    if data.is_dir():
        from .datasets import load_utkface

        faces = load_utkface(data)
        return faces.data, faces.target.tolist()
    from .datasets._table import read_rows

    wanted = {"path": path_column} | ({} if age_column is None else {"age": age_column})
    try:
        frame = read_rows(data, wanted).frame
    except UnicodeDecodeError:
        raise ValueError(f"{data} is neither an image known by its suffix nor a CSV.") from None
    ages = [] if age_column is None else frame["age"].astype(float).tolist()
    return frame["path"].tolist(), ages
