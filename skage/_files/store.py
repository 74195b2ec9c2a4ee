"""The feature cache on disk: frozen activations, shared by processes."""

from __future__ import annotations

import atexit
import contextlib
import os
import shlex
import sqlite3
import threading
import time
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import platformdirs

from .._memory import first_time, stores
from .paths import resolve_path

#: Default limit of a store's size, in bytes.
DEFAULT_LIMIT = 20 * 10**9
_FILE = "activations-1.sqlite"  # change the number with the tables
_KEPT_SHARE = 0.9  # of the limit, that eviction leaves filled
_USE_INTERVAL = 3600  # seconds; times of use are recorded no more often
_USE_BATCH = 1000  # times of use recorded in one transaction
_TIMEOUT = 60  # seconds to wait for another process


@dataclass
class CacheStats:
    """Number and size of the entries of one kind in a store.

    Parameters
    ----------
    label : str
    n_entries : int
    n_bytes : int
    last_used : float
        Seconds since the epoch, accurate to an hour.
    """

    label: str
    n_entries: int
    n_bytes: int
    last_used: float


class FeatureStore:
    """A key-value store of activations in one SQLite file.

    Many processes can read and write at once. An entry is written atomically, even if a
    process is killed, and an entry that fails its checksum counts as missing. When the
    file exceeds its limit, the least recently used entries are deleted. A store that
    fails warns once, and from then on neither returns nor stores anything.

    Parameters
    ----------
    folder : path
        Created if it does not exist. It must be on a local disk: SQLite's write-ahead
        log does not work over a network file system.

    Attributes
    ----------
    folder : str
    problem : str
        Why the store cannot be used; empty if it can.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = resolve_path(folder, "folder")
        self.problem = ""
        self._lock = threading.Lock()
        self._readable = self._writable = True
        self._used: list[bytes] = []  # keys whose time of use is not recorded yet
        try:
            os.makedirs(self.folder, exist_ok=True)
            self._db = sqlite3.connect(
                os.path.join(self.folder, _FILE),
                timeout=_TIMEOUT,
                isolation_level=None,
                check_same_thread=False,
            )
            self._set_up()
        except (OSError, sqlite3.Error) as error:
            self._disable(error)
            self._readable = False

    @property
    def usable(self) -> bool:
        """Whether the store can be read and written."""
        return self._readable and self._writable

    @property
    def limit(self) -> int:
        """Limit of the size in bytes; saved in the store, so it applies to all processes."""
        with self._lock:
            return self._get_limit()

    @limit.setter
    def limit(self, n_bytes: int) -> None:
        if not 0 <= n_bytes < 2**63:  # SQLite's integers
            raise ValueError(f"limit={n_bytes} is not a number of bytes from 0 to 2**63 - 1.")
        with self._lock:
            with self._transaction():
                self._db.execute("INSERT OR REPLACE INTO setting VALUES ('limit', ?)", (n_bytes,))
                self._make_room()
            if self._pragma("freelist_count"):
                self._db.execute("VACUUM")

    @property
    def n_bytes(self) -> int:
        """Size of the entries in bytes."""
        pages = self._pragma("page_count") - self._pragma("freelist_count")
        return pages * self._pragma("page_size")

    def excess(self, limit: int) -> int:
        """Bytes to delete at this limit; 0 if the store does not exceed it."""
        return self.n_bytes - int(_KEPT_SHARE * limit) if self.n_bytes > limit else 0

    def get(self, key: bytes) -> bytes | None:
        """Return the entry of a key, or None."""
        with self._lock:
            if not self._readable:
                return None
            try:
                row = self._db.execute(
                    "SELECT used, checksum, data FROM entry JOIN content USING (id) WHERE key = ?",
                    (key,),
                ).fetchone()
                if row is None or zlib.crc32(row[2]) != row[1]:
                    return None
                if row[0] < time.time() - _USE_INTERVAL:
                    self._used.append(key)
                if len(self._used) >= _USE_BATCH:
                    self._record_use()
            except sqlite3.Error as error:
                self._disable(error)
                self._readable = False
                return None
        return row[2]

    def __contains__(self, key: bytes) -> bool:
        """Return whether there is an entry; its checksum is only verified when it is read."""
        with self._lock:
            if not self._readable:
                return False
            try:
                query = "SELECT 1 FROM entry WHERE key = ?"
                return self._db.execute(query, (key,)).fetchone() is not None
            except sqlite3.Error as error:
                self._disable(error)
                self._readable = False
                return False

    def put(self, entries: Mapping[bytes, bytes], label: str = "") -> None:
        """Store entries of the kind `label`, either all of them or none."""
        with self._lock:
            if not self._writable:
                return
            try:
                with self._transaction():
                    for key, data in entries.items():
                        self._insert(key, data, label)
                    self._make_room(keep=entries)
            except (sqlite3.Error, OverflowError) as error:
                self._disable(error)

    def note_use(self, keys: Iterable[bytes]) -> None:
        """Record that entries are in use, although they were not read just now."""
        with self._lock:
            self._used += keys
            self._record_use()

    def holdings(self) -> list[CacheStats]:
        """Return statistics of each kind of entry, the most recently used kind first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT label, count(*), sum(size), max(used) FROM entry "
                "GROUP BY label ORDER BY max(used) DESC, label"
            ).fetchall()
        return [CacheStats(*row) for row in rows]

    def close(self) -> None:
        with self._lock:
            self._record_use()
            with contextlib.suppress(AttributeError):  # the file was never opened
                self._db.close()

    def _get_limit(self) -> int:
        row = self._db.execute("SELECT value FROM setting WHERE name = 'limit'").fetchone()
        return DEFAULT_LIMIT if row is None else row[0]

    def _pragma(self, name: str) -> Any:
        return self._db.execute(f"PRAGMA {name}").fetchone()[0]

    def _set_up(self) -> None:
        self._db.execute("PRAGMA page_size = 16384")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(f"PRAGMA journal_size_limit = {2**26}")
        deadline = time.monotonic() + _TIMEOUT
        while self._pragma("journal_mode") != "wal":
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:  # set by another process; SQLite does not wait here
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return
        with self._transaction():
            # Separate from the contents, so that recording a use does not rewrite them.
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS entry (key BLOB PRIMARY KEY, id INTEGER, label TEXT, "
                "size INTEGER, checksum INTEGER, used INTEGER) WITHOUT ROWID"
            )
            self._db.execute("CREATE INDEX IF NOT EXISTS entry_used ON entry (used)")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS content (id INTEGER PRIMARY KEY, data BLOB)"
            )
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value INTEGER)"
            )

    def _insert(self, key: bytes, data: bytes, label: str) -> None:
        self._db.execute(
            "DELETE FROM content WHERE id = (SELECT id FROM entry WHERE key = ?)", (key,)
        )
        row = self._db.execute("INSERT INTO content (data) VALUES (?)", (data,)).lastrowid
        self._db.execute(
            "INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?)",
            (key, row, label, len(data), zlib.crc32(data), int(time.time())),
        )

    def _make_room(self, keep: Mapping[bytes, bytes] | None = None) -> None:
        """Delete the least recently used entries if the store exceeds its limit."""
        limit = self._get_limit()
        surplus = self.excess(limit)
        if not surplus:
            return
        oldest = self._db.execute("SELECT key, id, size, used FROM entry ORDER BY used, id")
        going = []
        for key, row_id, size, used in oldest:
            if surplus <= 0:
                break
            if keep is None or key not in keep:
                going.append((key, row_id))
                surplus -= size
                latest = used
        self._db.executemany("DELETE FROM content WHERE id = ?", [(r,) for _, r in going])
        self._db.executemany("DELETE FROM entry WHERE key = ?", [(k,) for k, _ in going])
        if going and keep is not None and latest > time.time() - _USE_INTERVAL:
            _warn_once(
                self.folder + " limit",
                f"The feature cache in {self.folder!r} is limited to {limit / 1e9:g} GB, less than "
                "the activations in use, so they are computed again and again. Raise the limit: "
                f"python -m skage cache limit 50GB --folder {shlex.quote(self.folder)}",
            )

    def _record_use(self) -> None:
        used = [(int(time.time()), key) for key in self._used]
        self._used.clear()
        if used and self._writable:
            # Losing a time of use is harmless, so neither wait long nor fail.
            with contextlib.suppress(sqlite3.Error), self._short_timeout(), self._transaction():
                self._db.executemany("UPDATE entry SET used = ? WHERE key = ?", used)

    @contextlib.contextmanager
    def _short_timeout(self) -> Iterator[None]:
        self._db.execute("PRAGMA busy_timeout = 1000")
        try:
            yield
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {1000 * _TIMEOUT}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _disable(self, error: Exception) -> None:
        self._writable = False
        self.problem = self._describe(error)
        advice = "Pass another folder as feature_cache."
        if type(error) is sqlite3.DatabaseError:  # damaged, not merely inaccessible
            advice = f"Empty it: python -m skage cache clear --folder {shlex.quote(self.folder)}"
        _warn_once(
            self.folder,
            f"The feature cache in {self.folder!r} cannot be used ({self.problem}); continuing "
            f"without it. {advice}",
        )

    def _describe(self, error: Exception) -> str:
        """Describe an error; SQLite does not say why it cannot open a file."""
        if os.path.exists(self.folder):
            if not os.path.isdir(self.folder):
                return "it is a file, not a folder"
            if not os.access(self.folder, os.W_OK):
                return "it is not writable"
        return str(error)


@contextlib.contextmanager
def open_store(feature_cache: str | os.PathLike | None) -> Iterator[FeatureStore | None]:
    """Open the store of a classifier's ``feature_cache``: "auto", a folder, or None."""
    if feature_cache is None:
        yield None
        return
    with contextlib.closing(FeatureStore(resolve_folder(feature_cache))) as store:
        yield store


def get_store(folder: str) -> FeatureStore:
    """Return the store of a folder, which stays open while this process remembers it."""
    return stores.get_or_make(folder, lambda: FeatureStore(folder))


atexit.register(stores.clear)


def resolve_folder(feature_cache: str | os.PathLike) -> str:
    """Return the folder of a ``feature_cache``; "auto" is the user's cache folder.

    Raises
    ------
    ValueError
        If the path is empty, or needs a home folder that the user does not have.
    """
    if feature_cache != "auto":
        return resolve_path(feature_cache, "feature_cache")
    try:
        folder = platformdirs.user_cache_dir("skage", appauthor=False)
    except RuntimeError:
        folder = ""
    if not os.path.isabs(folder):
        raise ValueError(
            "This user has no cache folder, as there is no home folder. Set XDG_CACHE_HOME to a "
            "folder, or pass the path of one in place of 'auto'."
        )
    return folder


def store_file(feature_cache: str | os.PathLike) -> str:
    """Return the path of a store's file, whether or not it exists."""
    return os.path.join(resolve_folder(feature_cache), _FILE)


@contextlib.contextmanager
def open_existing(feature_cache: str | os.PathLike) -> Iterator[FeatureStore]:
    """Open a store that exists already.

    Raises
    ------
    ValueError
        If it does not exist.
    """
    folder = resolve_folder(feature_cache)
    if not os.path.exists(store_file(folder)):
        raise ValueError(f"There is no feature cache in {folder!r} yet.")
    with contextlib.closing(FeatureStore(folder)) as store:
        yield store


def clear_store(feature_cache: str | os.PathLike) -> int:
    """Delete all entries of a store, or its file if that is damaged.

    Returns
    -------
    n_bytes : int
        The size of what was deleted.

    Raises
    ------
    sqlite3.OperationalError
        If another process keeps it locked for a minute.
    OSError
        If a broken file cannot be deleted.
    """
    path = store_file(feature_cache)
    if not os.path.exists(path):
        return 0
    n_bytes = os.path.getsize(path)
    try:
        with contextlib.closing(
            sqlite3.connect(path, timeout=_TIMEOUT, isolation_level=None)
        ) as db:
            # Empty it in place, as other processes may have it open.
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM content")
            db.execute("DELETE FROM entry")
            db.execute("COMMIT")
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise
        for name in (path + "-wal", path + "-shm", path):
            if os.path.exists(name):
                os.remove(name)
    return n_bytes


def _warn_once(cause: str, message: str) -> None:
    if first_time(cause):
        warnings.warn(message, stacklevel=5)
