"""Paths that users give, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import IO, Any


def resolve_path(path: str | os.PathLike, name: str = "path") -> str:
    """The absolute path that a user means, with ``~`` expanded.

    Parameters
    ----------
    path : str or path-like
    name : str, default="path"
        The parameter that it was given as, for messages.

    Raises
    ------
    ValueError
        If it is empty, or begins with ``~`` and there is no such home folder.
    """
    text = os.fsdecode(path)
    if not text.strip():
        raise ValueError(
            f"{name}={text!r} is empty. Pass a path, such as '.' for the current folder."
        )
    expanded = os.path.expanduser(text)
    if expanded == text and text.startswith("~") and not os.path.lexists(text.split(os.sep)[0]):
        raise ValueError(
            f"{name}={text!r} needs a home folder that is not there. Set HOME, or pass an absolute "
            "path."
        )
    return os.path.abspath(expanded)


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike, mode: str = "wb", *, keep: bool = False, **options: Any
) -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`, which takes its place when the block ends.

    An earlier file stays as it is until then, and after an error for good; its
    permissions go over to the new one. A symbolic link stays one. What is not a regular
    file, such as a pipe or /dev/null, is written to as it is.

    Parameters
    ----------
    path : str or path-like
    mode : str, default="wb"
    keep : bool, default=False
        After an error, keep the temporary file if anything has been written to it; its
        name is the ``name`` of the open file. Else it is removed.
    **options : dict
        Those of `open`.

    Raises
    ------
    OSError
        If the file cannot be opened, written or put in place.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, mode, **options) as file:
            yield file
        return
    path = os.path.realpath(path)
    temporary = f"{path}.{os.getpid()}.partial"
    try:
        with open(temporary, mode, **options) as file:
            with contextlib.suppress(FileNotFoundError):
                shutil.copymode(path, temporary)
            yield file
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # of which the error that is raised tells
            if not keep or not os.path.getsize(temporary):
                os.remove(temporary)
        raise
