"""Resolve paths given by users, and write files atomically."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import IO, Any


def resolve_path(path: str | os.PathLike, name: str = "path") -> str:
    """Return the absolute path for a path given by a user, with ``~`` expanded.

    Parameters
    ----------
    path : str or path-like
    name : str, default="path"
        Name of the parameter, for error messages.

    Raises
    ------
    ValueError
        If the path is empty, or begins with ``~`` and that home folder is not known.
    """
    text = os.fsdecode(path)
    if not text.strip():
        raise ValueError(
            f"{name}={text!r} is empty. Pass a path, such as '.' for the current folder."
        )
    expanded = os.path.expanduser(text)
    if expanded == text and text.startswith("~") and not os.path.lexists(text.split(os.sep)[0]):
        raise ValueError(
            f"{name}={text!r} needs a home folder that cannot be determined. Set HOME, or pass an "
            "absolute path."
        )
    return os.path.abspath(expanded)


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike, mode: str = "wb", *, keep: bool = False, **options: Any
) -> Iterator[IO[Any]]:
    """Open a temporary file that replaces `path` when the block ends without an error.

    Until then, and after an error, an existing file is unchanged. The new file takes over
    its permissions, and a symbolic link remains one. If `path` exists but is not a regular
    file, such as a pipe or /dev/null, it is written to directly.

    Parameters
    ----------
    path : str or path-like
    mode : str, default="wb"
    keep : bool, default=False
        Whether to keep the temporary file after an error if anything was written to it.
        Its path is the ``name`` of the open file.
    **options : dict
        Passed to `open`.

    Raises
    ------
    OSError
        If the file cannot be opened, written or moved to its place.
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
        with contextlib.suppress(OSError):  # the error that is being raised matters more
            if not keep or not os.path.getsize(temporary):
                os.remove(temporary)
        raise
