"""The commands ``python -m skage cache ...``."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

from .shell import PathType, clear_errors


@click.group()
def cache() -> None:
    """Look at, bound and empty the folder of activations that --cache names.

    \b
    Examples:
      python -m skage cache info
      python -m skage cache limit 50GB
      python -m skage cache clear --yes
    """


_FOLDER = click.option(
    "--folder",
    "feature_cache",
    type=PathType(),
    default="auto",
    help='Folder that keeps activations; "auto" is your cache folder.',
)
_YES = click.option("-y", "--yes", is_flag=True, help="Delete without asking.")


@cache.command()
@_FOLDER
def info(feature_cache: str) -> None:
    """Say what the folder holds, and how much.

    \b
    Examples:
      python -m skage cache info
      python -m skage cache info --folder activations/
    """
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
    """Delete all that the folder holds.

    \b
    Examples:
      python -m skage cache clear
      python -m skage cache clear --folder activations/ --yes
    """
    with clear_errors():
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
    """Let the folder grow to SIZE.

    Of what is more, the activations that were not used for longest are deleted.

    \b
    Examples:
      python -m skage cache limit 50GB
    """
    with clear_errors():
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
    with clear_errors():
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
