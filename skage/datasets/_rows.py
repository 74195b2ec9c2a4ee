"""What all loaders share: from the files and tables of a folder to a Bunch."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.utils import Bunch

from .._checks import OLDEST
from .._files.paths import resolve_path
from .._images.reading import has_image_suffix

_BIRTH_YEARS = 1800, 2100


def key(text: Any) -> str:
    """A name as it is compared: in Unicode's composed form (NFC), without blanks at its
    ends, and with one plain blank for each run of blanks within. Upper and lower case stay
    different, as "ann" may be another person than "Ann", and numbers stay as written, as
    "007" may be another than "7"."""
    return " ".join(unicodedata.normalize("NFC", str(text)).split())


def keys(texts: pd.Series) -> pd.Series:
    """The text among the values by `key`, and nothing (None) where it is blank."""
    return texts.map(lambda value: key(value) or None if isinstance(value, str) else value)


@dataclass
class Rows:
    """The samples found so far, and how many were left out for which reason.

    `strict` names the table whose bad rows raise rather than are left out; the
    frame's index then holds its line numbers. `has_persons` tells that the column
    "person" holds persons, `has_std` that "age_std" belongs to the age. `examples`
    holds for each reason the first file left out.
    """

    frame: pd.DataFrame
    dropped: dict[str, int] = field(default_factory=dict)
    strict: str | None = None
    has_persons: bool = False
    has_std: bool = False
    examples: dict[str, str] = field(default_factory=dict)

    def drop(self, bad: Any, reason: str) -> None:
        """Leave out the rows where `bad`. The reason's first word names the column."""
        bad = np.asarray(bad, dtype=bool)
        if not bad.any():
            return
        if self.strict is not None:
            first, (what, fault) = int(np.argmax(bad)), reason.split(" ", 1)
            value = self.frame["path" if what == "file" else what].iloc[first]
            said = f"the {what} {value!r} {fault}" if value else f"there is no {what}"
            raise ValueError(f"{self.strict}, line {self.frame.index[first]}: {said}.")
        self._count(reason, int(bad.sum()), self.frame["path"].iloc[int(np.argmax(bad))])
        self.frame = self.frame[~bad]

    def count(self, reason: str, files: Sequence[str]) -> None:
        """Note files of a table that no row stands for."""
        if len(files):
            self._count(reason, len(files), files[0])

    def _count(self, reason: str, number: int, example: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + number
        self.examples.setdefault(reason, example)

    def numbers(self, column: str) -> pd.Series:
        """A column as numbers; rows where it is not a number are dropped."""
        numbers = pd.to_numeric(self.frame[column], errors="coerce").astype(np.float64)
        self.drop(~np.isfinite(numbers), f"{column} is not a number")
        return numbers[self.frame.index]

    def ages(self) -> pd.Series:
        """The column "age" as numbers; rows where it cannot be an age are dropped."""
        ages = self.numbers("age")
        are_years = ages.between(*_BIRTH_YEARS)
        self.drop(
            are_years,
            "age looks like a year of birth: subtract it from the year of the photograph",
        )
        ages = ages[~are_years]
        self.drop(~ages.between(0, OLDEST), f"age is outside 0-{OLDEST}")
        return ages[self.frame.index]


def check_folder(folder: Any) -> Path:
    root = Path(resolve_path(folder, "folder"))
    if not root.is_dir():
        raise ValueError(f"{os.fspath(root)!r} is not a folder.")
    return root


def files(root: Path, depth: int | None = None) -> Iterator[Path]:
    """All files in a folder and its subfolders (`depth` levels of them), in order.
    Links to folders are followed, but no folder is entered twice."""
    entered = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        subfolders.sort()
        here = Path(folder)
        found = here.stat()
        if (found.st_dev, found.st_ino) in entered:
            subfolders.clear()
            continue
        entered.add((found.st_dev, found.st_ino))
        if depth is not None and len(here.relative_to(root).parts) >= depth:
            subfolders.clear()
        yield from (here / name for name in sorted(names))


def find(root: Path, pattern: str) -> list[Path]:
    """Files named so, at most two levels down."""
    return [path for path in files(root, 2) if re.fullmatch(pattern, path.name, re.IGNORECASE)]


def locate(root: Path, names: Sequence[str], called: str, title: str) -> Path:
    """The folder in which a table's relative `names` lie: of those that hold
    any, one that is `called` so, else the first."""
    folders = [root, *(path for path in root.glob("*/") if path.is_dir())]
    folders += [path for folder in folders[1:] for path in folder.glob("*/") if path.is_dir()]
    folders.sort(key=lambda folder: folder.name != called)
    sample = names[:: max(1, len(names) // 50)]
    for folder in folders:
        if any((folder / name).is_file() for name in sample):
            return folder
    example = "".join(names[:1])
    raise unlike(root, f"image that the table of {title} names (for example {called}/{example})")


def named(folder: Any, pattern: str, shape: str, title: str, example: str) -> Rows:
    """Rows of the files whose names, folders included, match: one column for
    each named group of the pattern, all text (see `key`), and the path."""
    root = check_folder(folder)
    compiled = re.compile(f"(?:.*/)?{pattern}", re.IGNORECASE)
    found: list[dict[str, Any]] = []
    n_others = 0
    for path in files(root):
        if match := compiled.fullmatch(path.as_posix()):
            told = {name: text and key(text) for name, text in match.groupdict().items()}
            found.append({"path": os.fspath(path), **told})
        else:
            n_others += has_image_suffix(path)
    if not found:
        raise unlike(root, f"file named {shape}, as {title} has them (for example {example})")
    name_differs = {f"name is not {shape}": n_others} if n_others else {}
    has_persons = "person" in compiled.groupindex
    return Rows(pd.DataFrame(found), name_differs, has_persons=has_persons)


def unlike(root: Path, expected: str) -> ValueError:
    """That a folder is something else: what it should hold, and what it does."""
    first = [path.relative_to(root).as_posix() for path in islice(files(root), 3)]
    holds = ", ".join(first) or "no file at all"
    return ValueError(f"{os.fspath(root)!r} holds no {expected}; it holds {holds}.")


def add_table(rows: Rows, table: pd.DataFrame) -> None:
    """Add a table's columns by its column "file", the name of an image as `key` gives it; a
    row of it whose image is not there counts as dropped."""
    frame = rows.frame.assign(file=[key(os.path.basename(path)) for path in rows.frame["path"]])
    rows.count("file is missing", table["file"][~table["file"].isin(frame["file"])].tolist())
    new = ["file", *(column for column in table.columns if column not in frame.columns)]
    table = table[new].drop_duplicates("file")
    rows.frame = frame.merge(table, on="file", how="left").drop(columns="file")


def to_bunch(rows: Rows, descr: str) -> Bunch:
    """Drop what has no age or no content, find identical files, and pack the rest."""
    numbers = {"age": rows.ages()}
    if rows.has_std:
        numbers["age_std"] = rows.numbers("age_std")
        rows.drop(numbers["age_std"] < 0, "age_std is negative")
    paths = rows.frame["path"]
    size = pd.Series([_size(path) for path in paths], paths.index, dtype=np.int64)
    rows.drop(size < 0, "file is missing")
    rows.drop(size[rows.frame.index] == 0, "file is empty")
    if not len(rows.frame):
        raise ValueError(f"No image is left; left out were {_told(rows.dropped)}.")
    _warn_of_lost_files(rows)

    content = _contents(rows.frame["path"].tolist(), size[rows.frame.index].to_numpy())
    # What was dropped since is gone from `numbers` too, which join by index.
    frame = rows.frame.assign(**numbers, content=content).reset_index(drop=True)
    person = frame["person"] if rows.has_persons else pd.Series(np.nan, frame.index)
    groups = _groups(person, content)
    first = ["path", "age"]
    frame = frame[[*first, *(column for column in frame.columns if column not in first)]]

    copies = frame.groupby("content")["age"].agg(["size", "nunique"])
    n_conflicts = int((copies["nunique"] > 1).sum())
    differ = copies["nunique"].to_numpy()[content] > 1
    conflicts = frame.loc[differ, ["path", "age", "content"]].sort_values(
        "content", kind="stable", ignore_index=True
    )
    n_copies = copies["size"][copies["size"] > 1]
    descr += (
        f"\nLoaded: {len(frame):,} images. Left out: {_told(rows.dropped)}.\n"
        f"Identical files: {n_copies.sum():,} in {len(n_copies):,} sets; in {n_conflicts:,} of "
        "them the ages differ.\n"
    )
    std = {"target_std": frame["age_std"].to_numpy(np.float64)} if rows.has_std else {}
    return Bunch(
        data=frame["path"].tolist(),
        target=frame["age"].to_numpy(np.float64),
        **std,
        groups=groups,
        frame=frame,
        conflicts=conflicts,
        dropped=dict(rows.dropped),
        DESCR=descr,
    )


def _told(dropped: dict[str, int]) -> str:
    return ", ".join(f"{n:,} ({reason})" for reason, n in dropped.items()) or "none"


def _warn_of_lost_files(rows: Rows) -> None:
    lost = [
        f"{rows.dropped[reason]:,} ({reason}, first {rows.examples[reason]!r})"
        for reason in ("file is missing", "file is empty")
        if reason in rows.dropped
    ]
    if lost:
        warnings.warn(
            f"Images that the data set should hold are left out: {' and '.join(lost)}. Copy or "
            "unpack it again if you did not expect that.",
            stacklevel=4,
        )


def _size(path: str) -> int:
    """In bytes, -1 for what is not a file."""
    try:
        found = os.stat(path)
    except OSError:
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _contents(paths: Sequence[str], sizes: np.ndarray) -> np.ndarray:
    """One code for all files of the same bytes. Of files of one size the beginnings
    are read, and only of those that agree in it the rest."""
    codes = pd.factorize(sizes)[0]
    for n_bytes in (4096, -1):
        recurs = np.bincount(codes)[codes] > 1
        keys = [
            f"{code} {_digest(path, n_bytes) if again else ''}"
            for path, code, again in zip(paths, codes.tolist(), recurs, strict=True)
        ]
        codes = pd.factorize(pd.Series(keys, dtype=object))[0]
    return codes


def _digest(path: str, n_bytes: int) -> str:
    with open(path, "rb") as file:
        return hashlib.blake2b(file.read(n_bytes), digest_size=16).hexdigest()


def _groups(person: pd.Series, content: np.ndarray) -> np.ndarray:
    """Codes of what same person or same content connects; a missing person is alone."""
    codes = pd.factorize(person)[0]
    unknown = codes < 0
    codes[unknown] = codes.max() + 1 + np.arange(unknown.sum())
    n_persons = int(codes.max()) + 1
    n_nodes = n_persons + int(content.max()) + 1
    links = coo_array((np.ones(len(codes)), (codes, n_persons + content)), (n_nodes, n_nodes))
    _, component = connected_components(links, directed=False)
    return pd.factorize(component[codes])[0]
