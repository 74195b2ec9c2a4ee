"""What DATA on the command line stands for: images, and faces with their ages."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from .shell import count, tell

_SHOWN = 10  # files that a message names


def _loaders() -> list[str]:
    """The loaders of skage.datasets, by its text, as help must not wait for its import."""
    source = Path(__file__).parent.parent.joinpath("datasets", "__init__.py").read_text("utf-8")
    names = re.findall(r'^    "load_(\w+)",$', source, re.MULTILINE)
    return [name for name in names if name not in ("folder", "table")]


_OPTIONS = (
    click.option(
        "--age-pattern",
        metavar="REGEX",
        help="Regular expression that finds the age in the path of an image within the folder "
        r"DATA, such as '_(?P<age>\d+)y'. A group (?P<person>...) names the person.",
    ),
    click.option(
        "--loader",
        type=click.Choice(_loaders()),
        metavar="NAME",
        help=f"Read DATA as the data set of this name: {', '.join(_loaders())}.",
    ),
    click.option(
        "--path-column",
        "path",
        default="path",
        help="Column of a CSV that holds the paths of images.",
    ),
    click.option(
        "--age-column", "age", default="age", help="Column of a CSV that holds ages in years."
    ),
    click.option(
        "--group-column",
        "group",
        help="Column of a CSV that names the person, whose images no fold of tune parts.",
    ),
)


def data_options(command: Any) -> Any:
    """Add the options that `read_faces` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_faces(
    data: Path,
    *,
    loader: str | None,
    age_pattern: str | None,
    path: str,
    age: str,
    group: str | None,
    on_error: str,
    **others: Any,
) -> Any:
    """Paths, ages and groups of a folder or a CSV, and a line on what is left out of them.

    Raises
    ------
    ValueError
        If there are none, or an option does not go with the others.
    """
    from .. import datasets

    is_folder = data.is_dir()
    if loader is not None and age_pattern is not None:
        raise ValueError("--loader and --age-pattern exclude each other. Leave out one of them.")
    if group is not None and (is_folder or loader is not None):
        raise ValueError(
            "--group-column is a column of a CSV. In a folder, let --age-pattern have a group "
            "(?P<person>...)."
        )
    with _named_as_options():
        if loader is not None:
            faces = getattr(datasets, f"load_{loader}")(data)
        elif age_pattern is not None:
            faces = datasets.load_folder(data, pattern=age_pattern)
        elif is_folder:
            faces = _read_utkface(data)
        else:
            faces = datasets.load_table(data, path=path, age=age, group=group, on_error=on_error)
    if faces.dropped:
        told = "; ".join(f"{count(n, 'file')} ({reason})" for reason, n in faces.dropped.items())
        named = _left_out(data, faces.data) if is_folder and loader is None else []
        more = ", ..." if len(named) > _SHOWN else ""
        which = f": {', '.join(named[:_SHOWN])}{more}" if named else ""
        tell(f"Left out of {data}: {told}{which}")
    return faces


@contextmanager
def _named_as_options() -> Iterator[None]:
    """Let errors of the loaders name options in place of parameters."""
    try:
        yield
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        message = re.sub(r"\b(path|age|group)=(?!['\"])", r"--\1-column", str(error))
        message = re.sub(r"^pattern=", "--age-pattern ", message)
        raise ValueError(message) from error


def _read_utkface(folder: Path) -> Any:
    from ..datasets import load_utkface

    try:
        return load_utkface(folder)
    except ValueError as error:
        raise ValueError(
            f"{error} Say with --age-pattern where the age is in other names, with --loader which "
            "data set it is, or list the images in a CSV."
        ) from error


def _left_out(folder: Path, taken: Iterable[str]) -> list[str]:
    """Names of the images in a folder that were not taken."""
    from .._images.reading import has_image_suffix
    from ..datasets._rows import files

    found = {os.path.abspath(path) for path in taken}
    images = (path for path in files(folder) if has_image_suffix(path))
    others = (path for path in images if os.path.abspath(path) not in found)
    return [click.format_filename(path.relative_to(folder)) for path in others]


def find_images(data: Path, path_column: str) -> list[str]:
    """The images that an argument names: itself, those in it, or those that it lists."""
    from .._images.reading import has_image_suffix, readable

    if data.is_dir():
        return _images_in(data)
    if has_image_suffix(data) or readable([data])[0]:
        return [os.fspath(data)]
    from ..datasets._table import read_rows

    try:
        with _named_as_options():
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
