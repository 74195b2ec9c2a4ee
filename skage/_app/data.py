"""What DATA on the command line stands for: images, and faces with their ages."""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from .shell import count, is_shell, refuse_idle, tell, with_options

_SHOWN = 10  # files that a message names


def _loaders() -> list[str]:
    """The loaders of skage.datasets, by its text, as help must not wait for its import."""
    source = Path(__file__).parent.parent.joinpath("datasets", "__init__.py").read_text("utf-8")
    names = re.findall(r'^    "load_(\w+)",$', source, re.MULTILINE)
    return [name for name in names if name not in ("folder", "table")]


#: The options that `read_faces` takes.
data_options = with_options(
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
        help="Column of a CSV that contains the paths of images.",
    ),
    click.option(
        "--age-column", "age", default="age", help="Column of a CSV that contains ages in years."
    ),
)

#: The column of persons, where images are split.
group_option = click.option(
    "--group-column",
    "group",
    help="Column of a CSV that names the person. Images of a person, and identical images, are "
    "not split between folds, nor between training and validation.",
)


def read_faces(
    data: Path,
    *,
    loader: str | None,
    age_pattern: str | None,
    path: str,
    age: str,
    group: str | None = None,
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
    if is_folder or loader is not None:
        refuse_idle("unless DATA is a CSV that is read without --loader", "path", "age", "group")
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
    from ..datasets._rows import check_folder, files, is_hidden

    root, found = check_folder(folder), set(taken)
    others = (path for path in files(root) if os.fspath(path) not in found)
    images = (path for path in others if has_image_suffix(path) and not is_hidden(path, root))
    return [click.format_filename(path.relative_to(root)) for path in images]


def is_table(data: Path) -> bool:
    """Whether an argument is neither a folder nor an image."""
    from .._images.reading import has_image_suffix, readable

    return not (is_shell(data) or data.is_dir() or has_image_suffix(data) or readable([data])[0])


def find_images(data: Path, path_column: str) -> list[str]:
    """The images that an argument names: itself, those in it, or those that it lists."""
    if is_shell(data):
        lines = sys.stdin.buffer.read().splitlines()
        paths = [os.fsdecode(line) for line in lines if line.strip()]
        if not paths:
            raise ValueError("Standard input names no images. Write one path a line to it.")
        return paths
    if data.is_dir():
        return _images_in(data)
    if not is_table(data):
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
    from ..datasets._rows import files, is_hidden

    found, others = [], []
    for path in files(folder):
        if has_image_suffix(path) and not is_hidden(path, folder):
            found.append(os.fspath(path))
        else:
            others.append(click.format_filename(path.relative_to(folder)))
    more = ", ..." if len(others) > _SHOWN else ""
    named = ", ".join(others[:_SHOWN]) + more
    if not found:
        files_there = f"its files are {named}" if others else "it has no files"
        raise ValueError(f"The folder {folder} contains no images; {files_there}.")
    if others:
        which = (
            "is hidden or not an image was" if len(others) == 1 else "are hidden or not images were"
        )
        tell(f"{count(len(others), 'file')} in {folder} that {which} left out: {named}")
    return found


def leave_out_unreadable(faces: Any, images: Any, on_error: str) -> Any:
    """The faces whose images can be read, after a warning that names the others.

    Parameters
    ----------
    faces : Bunch
        As `read_faces` returns it.
    images : sequence of n_samples images
        Those of the faces, or crops of them.
    on_error : {"raise", "skip"}

    Raises
    ------
    ValueError
        If no image can be read, or some cannot and `on_error` is "raise". Photographs
        without a face count as such only if no image is left.
    """
    from sklearn.utils import Bunch

    from .._images.reading import readable

    mask = readable(images)
    errors = [error_of(images, position) for position in (~mask).nonzero()[0].tolist()]
    broken = [error for error in errors if not error.skip] if on_error == "raise" else []
    of_all = f"of {count(len(mask), 'image')}"
    if broken:
        raise ValueError(
            f"{len(broken):,} {of_all} cannot be read. Pass --on-error skip to leave such images "
            f"out.{listed(broken)}"
        )
    if not mask.any():
        raise ValueError(f"None {of_all} can be used.{listed(errors)}")
    if errors:
        tell(f"Warning: {len(errors):,} {of_all} cannot be used and are left out:{listed(errors)}")
    data = [path for path, is_good in zip(faces.data, mask, strict=True) if is_good]
    return Bunch(data=data, target=faces.target[mask], groups=faces.groups[mask])


def error_of(images: Any, position: int) -> Any:
    """What is wrong with an image that could not be read."""
    from .._images.reading import ImageError, describe, digest_and_decoder

    try:
        digest_and_decoder(images[position], position)[1](1)
    except ImageError as error:
        return error
    return ImageError(f"{describe(images[position], position)} could not be read in its turn.")


def listed(errors: Sequence[Any]) -> str:
    """The first of the errors of images, on a line each."""
    more = [f"and {len(errors) - _SHOWN:,} more."] if len(errors) > _SHOWN else []
    return "".join(f"\n  {line}" for line in [*(e.message for e in errors[:_SHOWN]), *more])
