"""The rows that predict writes, as CSV or JSON lines, and those that an earlier run left."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLUMNS = ("path", "age", "std", "low", "high")
#: Paths go out with the bytes that they have in the file system, in UTF-8 or not.
TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": sys.getfilesystemencodeerrors()}

Row = list[str]  # a path, and four numbers or empty texts


def make_row(path: str, values: Sequence[float]) -> Row:
    """Years with two decimals, empty for an image without a prediction."""
    return [path, *("" if value != value else f"{value:.2f}" for value in values)]


def as_text(rows: Sequence[Row], kind: str, header: bool = False) -> str:
    """Rows as lines of a CSV or of JSON."""
    if kind == "jsonl":
        return "".join(f"{json.dumps(_as_object(row))}\n" for row in rows)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if header:
        writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue()


def from_text(text: str, kind: str) -> list[Row]:
    """The complete rows of a file that may end within one.

    Raises
    ------
    ValueError
        If it has others.
    """
    whole = text[: text.rfind("\n") + 1]
    if kind == "jsonl":
        return [_as_row(json.loads(line)) for line in whole.splitlines()]
    rows = list(csv.reader(io.StringIO(whole, newline="")))
    if rows and (tuple(rows[0]) != COLUMNS or {*map(len, rows)} != {len(COLUMNS)}):
        raise ValueError("not rows of predict")
    return rows[1:]


def _as_object(row: Row) -> dict[str, str | float | None]:
    numbers = [float(value) if value else None for value in row[1:]]
    return dict(zip(COLUMNS, [row[0], *numbers], strict=True))


def _as_row(found: dict[str, str | float | None]) -> Row:
    path, *numbers = (found[name] for name in COLUMNS)
    return [str(path), *("" if value is None else f"{value:.2f}" for value in numbers)]


@dataclass
class Earlier:
    """What a run that was killed has left."""

    file: str
    rows: list[Row]


def find_earlier(output: Path, kind: str, paths: Sequence[str]) -> Earlier | None:
    """The longest beginning of these rows that a run no longer alive has written."""
    found = [Earlier("", [])]
    target = os.path.realpath(output)
    for file in glob.glob(f"{glob.escape(target)}.*.partial"):
        number = re.fullmatch(r"\.(\d+)\.partial", file[len(target) :])
        if number is None or _is_alive(int(number[1])):
            continue
        try:
            with open(file, newline="", **TEXT) as opened:
                rows = from_text(opened.read(), kind)
        except (OSError, LookupError, TypeError, ValueError, csv.Error):
            continue
        if [row[0] for row in rows] == list(paths[: len(rows)]):
            found.append(Earlier(file, rows))
    best = max(found, key=lambda earlier: len(earlier.rows))
    return best if best.rows else None


def _is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return number != os.getpid()
