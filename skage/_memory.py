"""What this process remembers, its locks, and what becomes of both in a forked process."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lock:
    """A reentrant lock that is free in a forked process, whoever held it in the parent."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _of_process.append(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *args: Any) -> None:
        self._lock.release()

    def after_fork(self) -> None:
        self._lock = threading.RLock()


class Memory(Generic[K, V]):
    """A bounded mapping for all threads; what was not used for longest goes first.

    Parameters
    ----------
    max_entries : int
    close : callable, default=None
        Called with each value that goes.
    """

    def __init__(self, max_entries: int, close: Callable[[V], None] | None = None):
        self.max_entries, self.close = max_entries, close
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._inherited: list[V] = []
        self._lock = threading.RLock()
        _of_process.append(self)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value of a key, or None."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: K, value: V) -> V:
        """Remember a value, and return it."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            while len(self._entries) > self.max_entries:
                self._drop(self._entries.popitem(last=False)[1])
            return value

    def get_or_make(self, key: K, make: Callable[[], V]) -> V:
        """The value of a key; of several threads one makes it, if it is not there."""
        with self._lock:
            found = self.get(key)
            return self.put(key, make()) if found is None else found

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            while self._entries:
                self._drop(self._entries.popitem()[1])

    def after_fork(self) -> None:
        """Forget everything: files and connections are the parent's, and must not be closed."""
        if self.close is not None:
            self._inherited += self._entries.values()
        self._entries, self._lock = OrderedDict(), threading.RLock()

    def _drop(self, value: V) -> None:
        if self.close is not None:
            self.close(value)


_of_process: list[Lock | Memory] = []
_at_fork: list[Callable[[], None]] = []

#: torch's random generators and its number of threads are the process's: fits in
#: threads take turns, and each gives what it gives alone.
fit_lock = Lock()
#: Pillow decodes a lazily opened image and parses its EXIF on first use; the same
#: object may stand twice in X and so be met by two threads.
pillow_lock = Lock()

#: Digests of files by path, with what tells whether the file is still the same.
digests: Memory[str, Any] = Memory(100_000)
#: Faces by detector, angles and digest of the image, some 250 bytes each.
faces: Memory[Any, bytes] = Memory(250_000)
#: What stands for a detector that is a callable in the keys of `faces`.
detectors: WeakKeyDictionary[Any, object] = WeakKeyDictionary()
#: Conversions to sRGB by colour profile.
profiles: Memory[Any, Any] = Memory(16)
#: Weights files by path, size and time.
weights: Memory[Any, Any] = Memory(2)
#: Shape and dtype of activations by frozen network.
layouts: Memory[bytes, Any] = Memory(64)
#: Pools of activations by folder and frozen network; two may take turns in a process.
pools: Memory[Any, Any] = Memory(2)
#: Compressions of activations: a search meets one a fold.
projections: Memory[bytes, Any] = Memory(8)
#: Open stores by folder.
stores: Memory[str, Any] = Memory(8, close=lambda store: store.close())
#: What was warned of already.
warned: Memory[str, bool] = Memory(1000)
#: What each thread needs for itself: OpenCV's detectors.
of_thread = threading.local()


def first_time(cause: str) -> bool:
    """Whether this cause of a warning has not been met in this process."""
    if warned.get(cause) is not None:
        return False
    warned.put(cause, True)
    return True


def at_fork(function: Callable[[], None]) -> None:
    """Call a function in each process that is forked from this one."""
    _at_fork.append(function)


def clear_memory() -> None:
    """Free what skage keeps in this process between calls.

    These are activations, their compressions, weights, faces found, digests of files
    and open stores. Nothing on disk is deleted; what is needed again is made again.

    Examples
    --------
    >>> import skage
    >>> skage.clear_memory()
    """
    for memory in _of_process:
        if isinstance(memory, Memory):
            memory.clear()
    detectors.clear()


def _after_fork() -> None:
    for thing in _of_process:
        thing.after_fork()
    for function in _at_fork:
        function()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
