"""What DATA on the command line stands for: images, and faces with their ages."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from .shell import count, tell

_SHOWN = 10  # files that a message names
_LOADERS = ["aaf", "afad", "agedb", "appa_real", "cacd", "fgnet"]
_LOADERS += ["imdb_clean", "imdb_wiki", "lap", "morph2", "utkface"]


def data_options(command: Any) -> Any:
    """Add the options that `read_faces` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option(
        "--loader",
        type=click.Choice(_LOADERS),
        metavar="NAME",
        help=f"Read DATA as a data set of skage.datasets: {', '.join(_LOADERS)}.",
    ),
    click.option(
        "--age-pattern",
        help="Regular expression that finds the age in the path of a file within DATA, such as "
        r"'_(?P<age>\d+)y'. A group (?P<person>...) names the person.",
    ),
    click.option(
        "--path-column", default="path", help="Column of a CSV that holds the paths of images."
    ),
    click.option("--age-column", default="age", help="Column of a CSV that holds ages in years."),
    click.option(
        "--group-column", help="Column of a CSV that names the person, whom no fold parts."
    ),
)


def read_faces(
    data: Path,
    *,
    loader: str | None,
    age_pattern: str | None,
    path_column: str,
    age_column: str,
    group_column: str | None,
    on_error: str | None,
    **others: Any,
) -> Any:
    """Paths, ages and groups of a folder or a CSV, and a line on what is left out of them."""
    from .. import datasets

    if loader is not None:
        faces = getattr(datasets, f"load_{loader}")(data)
    elif age_pattern is not None:
        faces = datasets.load_folder(data, pattern=age_pattern)
    elif data.is_dir():
        faces = _read_folder(data)
    else:
        columns = {"path": path_column, "age": age_column, "group": group_column}
        with _columns_as_options():
            faces = datasets.load_table(data, **columns, on_error=on_error or "raise")
    if faces.dropped:
        told = "; ".join(f"{count(n, 'file')} ({reason})" for reason, n in faces.dropped.items())
        tell(f"Left out of {data}: {told}")
    return faces


@contextmanager
def _columns_as_options() -> Iterator[None]:
    """Let errors about columns, which the loaders call by their parameters, name the options."""
    try:
        yield
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        message = re.sub(r"\b(path|age|group)=", r"--\1-column", str(error))
        raise ValueError(message) from error


def _read_folder(data: Path) -> Any:
    from ..datasets import load_utkface

    try:
        return load_utkface(data)
    except ValueError as error:
        raise ValueError(
            f"{error} Say with --age-pattern where the age is in other names, with --loader which "
            "data set it is, or list the images in a CSV."
        ) from error


def find_images(data: Path, path_column: str) -> list[str]:
    """The images that an argument names: itself, those in it, or those that it lists."""
    from .._images.reading import has_image_suffix, readable

    if data.is_dir():
        return _images_in(data)
    if has_image_suffix(data) or readable([data])[0]:
        return [os.fspath(data)]
    from ..datasets._table import read_rows

    try:
        with _columns_as_options():
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
        tell(f"{count(len(others), 'file')} in {folder} that {which} left out: {named}")
    return found
