"""Paths that users give, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
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
    if not text:
        raise ValueError(f"{name}='' is empty. Pass a path, such as '.' for the current folder.")
    expanded = os.path.expanduser(text)
    if expanded == text and (text == "~" or text.startswith("~/")):
        raise ValueError(
            f"{name}={text!r} needs a home folder, and this user has none. Set HOME, or pass an "
            "absolute path."
        )
    return os.path.abspath(expanded)


@contextlib.contextmanager
def replacing(path: str | os.PathLike, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`, which takes its place when the block ends.

    An earlier file stays as it is until then; after an error it stays for good, and the
    temporary file is removed. `options` are those of `open`.
    """
    path = os.fspath(path)
    temporary = f"{path}.{os.getpid()}.partial"
    try:
        with open(temporary, mode, **options) as file:
            yield file
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
