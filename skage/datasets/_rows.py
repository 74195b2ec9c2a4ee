"""Shared by all loaders: turn the files and tables of a folder into a Bunch."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from .._checks import OLDEST
from .._files.paths import resolve_path
from .._groups import joined
from .._images.reading import has_image_suffix

_BIRTH_YEARS = 1800, 2100


def key(text: Any) -> str:
    """Normalise a name, so that equal names compare equal.

    It is put into Unicode's composed form (NFC), stripped, and each run of whitespace
    becomes one space. Case is kept, as "ann" and "Ann" may be two persons, and so are
    numbers as written, as "007" and "7" may be two.
    """
    return " ".join(unicodedata.normalize("NFC", str(text)).split())


def keys(texts: pd.Series) -> pd.Series:
    """Normalise the text among the values; blank text becomes None."""
    return texts.map(lambda value: key(value) or None if isinstance(value, str) else value)


@dataclass
class Rows:
    """The samples found so far, and how many were left out for which reason.

    If `strict` is the name of a table, an unusable row raises instead of being left out,
    and the index of `frame` is the line number in that table. `has_persons` states that
    the column "person" identifies persons, `has_std` that "age_std" is the standard
    deviation of the age. `examples` contains the first file left out for each reason.
    """

    frame: pd.DataFrame
    dropped: dict[str, int] = field(default_factory=dict)
    strict: str | None = None
    has_persons: bool = False
    has_std: bool = False
    examples: dict[str, str] = field(default_factory=dict)

    def drop(self, bad: Any, reason: str) -> None:
        """Leave out the rows where `bad`. The first word of `reason` is the column's name."""
        bad = np.asarray(bad, dtype=bool)
        if not bad.any():
            return
        if self.strict is not None:
            first, (what, fault) = int(np.argmax(bad)), reason.split(" ", 1)
            value = self.frame["path" if what == "file" else what].iloc[first]
            message = f"the {what} {value!r} {fault}" if value else f"there is no {what}"
            raise ValueError(f"{self.strict}, line {self.frame.index[first]}: {message}.")
        self._count(reason, int(bad.sum()), self.frame["path"].iloc[int(np.argmax(bad))])
        self.frame = self.frame[~bad]

    def count(self, reason: str, files: Sequence[str]) -> None:
        """Count files that a table names but that have no row."""
        if len(files):
            self._count(reason, len(files), files[0])

    def _count(self, reason: str, number: int, example: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + number
        self.examples.setdefault(reason, example)

    def numbers(self, column: str) -> pd.Series:
        """Return a column as numbers, dropping rows where it is not a finite number."""
        numbers = pd.to_numeric(self.frame[column], errors="coerce").astype(np.float64)
        self.drop(~np.isfinite(numbers), f"{column} is not a number")
        return numbers[self.frame.index]

    def ages(self) -> pd.Series:
        """Return the column "age" as numbers, dropping rows where it cannot be an age."""
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
        raise ValueError(f"{os.fspath(root)!r} is not a folder. Pass the folder of the images.")
    return root


def files(root: Path, depth: int | None = None) -> Iterator[Path]:
    """Generate the files in a folder and in `depth` levels of subfolders, sorted.

    Links to folders are followed, but no folder is entered twice.
    """
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


def is_hidden(path: Path, root: Path) -> bool:
    """Return whether a path in a folder has a name that begins with a dot."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def find(root: Path, pattern: str) -> list[Path]:
    """Return the files whose names match a pattern, at most two levels down."""
    return [path for path in files(root, 2) if re.fullmatch(pattern, path.name, re.IGNORECASE)]


def locate(root: Path, names: Sequence[str], called: str, title: str) -> Path:
    """Return the folder that the file names in a table are relative to.

    Among the folders that contain any of the files, one named `called` is preferred.
    """
    folders = [root, *(path for path in root.glob("*/") if path.is_dir())]
    folders += [path for folder in folders[1:] for path in folder.glob("*/") if path.is_dir()]
    folders.sort(key=lambda folder: folder.name != called)
    sample = names[:: max(1, len(names) // 50)]
    for folder in folders:
        if any((folder / name).is_file() for name in sample):
            return folder
    example = "".join(names[:1])
    raise unexpected_folder(
        root, f"image listed in the table of {title} (for example {called}/{example})"
    )


def read_file_names(folder: Any, pattern: str, shape: str, title: str, example: str) -> Rows:
    """Find the files whose names match, and read their names into columns.

    There is a column of normalised text for each named group of `pattern`, and the path.
    The pattern is matched against the end of the path, so it may contain folders.
    """
    root = check_folder(folder)
    compiled = re.compile(f"(?:.*/)?{pattern}", re.IGNORECASE)
    rows = read_names(
        root, lambda path: compiled.fullmatch(path.as_posix()), f"name is not {shape}"
    )
    if rows.frame.empty:
        raise unexpected_folder(root, f"file named {shape}, as in {title} (for example {example})")
    return rows


def read_names(root: Path, match: Callable[[Path], re.Match | None], reason: str) -> Rows:
    """Read the named groups of what matches the paths of files into columns.

    Other images count as dropped for this reason. Hidden files are passed over.
    """
    found: list[dict[str, Any]] = []
    n_others = 0
    for path in files(root):
        if is_hidden(path, root):
            continue
        if matched := match(path):
            fields = {name: text and key(text) for name, text in matched.groupdict().items()}
            found.append({"path": os.fspath(path), **fields})
        else:
            n_others += has_image_suffix(path)
    frame = pd.DataFrame(found)
    return Rows(frame, {reason: n_others} if n_others else {}, has_persons="person" in frame)


def unexpected_folder(root: Path, expected: str) -> ValueError:
    """Return the error for a folder without the files that it should contain."""
    first = [path.relative_to(root).as_posix() for path in islice(files(root), 3)]
    contents = f"Its first files are: {', '.join(first)}." if first else "It has no files."
    return ValueError(
        f"{os.fspath(root)!r} contains no {expected}. {contents} Pass the folder of the images."
    )


def add_table(rows: Rows, table: pd.DataFrame) -> None:
    """Join a table to the rows by its column "file", the normalised name of the image.

    A row of the table without an image counts as dropped.
    """
    frame = rows.frame.assign(file=[key(os.path.basename(path)) for path in rows.frame["path"]])
    rows.count("file is missing", table["file"][~table["file"].isin(frame["file"])].tolist())
    new = ["file", *(column for column in table.columns if column not in frame.columns)]
    table = table[new].drop_duplicates("file")
    rows.frame = frame.merge(table, on="file", how="left").drop(columns="file")


def to_bunch(rows: Rows, descr: str) -> Bunch:
    """Drop rows without an age or a file, find identical files, and make the Bunch."""
    numbers = {"age": rows.ages()}
    if rows.has_std:
        numbers["age_std"] = rows.numbers("age_std")
        rows.drop(numbers["age_std"] < 0, "age_std is negative")
    paths = rows.frame["path"]
    size = pd.Series([_size(path) for path in paths], paths.index, dtype=np.int64)
    rows.drop(size < 0, "file is missing")
    rows.drop(size[rows.frame.index] == 0, "file is empty")
    if not len(rows.frame):
        raise ValueError(f"No usable images are left. Left out: {_summary(rows.dropped)}.")
    _warn_of_lost_files(rows)

    content = _contents(rows.frame["path"].tolist(), size[rows.frame.index].to_numpy())
    # `numbers` join by index, so rows dropped since then drop out of them too.
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
        f"\nLoaded: {len(frame):,} images. Left out: {_summary(rows.dropped)}.\n"
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


def _summary(dropped: dict[str, int]) -> str:
    return ", ".join(f"{n:,} ({reason})" for reason, n in dropped.items()) or "none"


def _warn_of_lost_files(rows: Rows) -> None:
    lost = [
        f"{rows.dropped[reason]:,} ({reason}, first {rows.examples[reason]!r})"
        for reason in ("file is missing", "file is empty")
        if reason in rows.dropped
    ]
    if lost:
        warnings.warn(
            f"Images of the dataset are left out: {' and '.join(lost)}. Copy or unpack the dataset "
            "again if you did not expect this.",
            stacklevel=4,
        )


def _size(path: str) -> int:
    """Return the size in bytes; -1 if the path is not a regular file."""
    try:
        found = os.stat(path)
    except OSError:
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _contents(paths: Sequence[str], sizes: np.ndarray) -> np.ndarray:
    """Return integer codes of the files' contents, equal for identical files.

    Only files of equal size are read: first their beginnings, and where those are equal
    too, all of them.
    """
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
    """Return group codes: rows with the same person or the same content share a group.

    Each row without a person counts as another person.
    """
    codes = pd.factorize(person)[0]
    unknown = codes < 0
    codes[unknown] = codes.max() + 1 + np.arange(unknown.sum())
    return joined(codes, content)
