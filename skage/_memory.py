"""In-memory caches and locks of this process, and their state after a fork."""

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
        _process_state.append(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *args: Any) -> None:
        self._lock.release()

    def after_fork(self) -> None:
        self._lock = threading.RLock()


class Memory(Generic[K, V]):
    """A thread-safe mapping that evicts the least recently used entries.

    Parameters
    ----------
    max_entries : int
    close : callable, default=None
        Called with each value that is evicted.
    """

    def __init__(self, max_entries: int, close: Callable[[V], None] | None = None):
        self.max_entries, self.close = max_entries, close
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._inherited: list[V] = []
        self._lock = threading.RLock()
        _process_state.append(self)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return the value of a key, or None."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: K, value: V) -> V:
        """Store a value, and return it."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            while len(self._entries) > self.max_entries:
                self._drop(self._entries.popitem(last=False)[1])
            return value

    def get_or_make(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of a key; if it is missing, exactly one thread makes it."""
        with self._lock:
            found = self.get(key)
            return self.put(key, make()) if found is None else found

    def clear(self) -> None:
        """Remove all entries."""
        with self._lock:
            while self._entries:
                self._drop(self._entries.popitem()[1])

    def after_fork(self) -> None:
        """Remove all entries without closing them: files and connections are the parent's."""
        if self.close is not None:
            self._inherited += self._entries.values()
        self._entries, self._lock = OrderedDict(), threading.RLock()

    def _drop(self, value: V) -> None:
        if self.close is not None:
            self.close(value)


_process_state: list[Lock | Memory] = []
_at_fork: list[Callable[[], None]] = []

#: torch's random generators and its number of threads belong to the process, so fits in
#: threads take turns, and each gives the same result as it would alone.
fit_lock = Lock()
#: Pillow decodes a lazily opened image and parses its EXIF on first use. The same object
#: may occur twice in X, and so be used by two threads.
pillow_lock = Lock()

#: Digests of files by path, with a stamp to detect that a file has changed.
digests: Memory[str, Any] = Memory(100_000)
#: Faces by detector, angles and digest of the image, about 250 bytes each.
faces: Memory[Any, bytes] = Memory(250_000)
#: A unique object for each detector that is a callable, used in the keys of `faces`.
detectors: WeakKeyDictionary[Any, object] = WeakKeyDictionary()
#: Conversions to sRGB by colour profile.
profiles: Memory[Any, Any] = Memory(16)
#: Weight files by path, size and time of change.
weights: Memory[Any, Any] = Memory(2)
#: Shape and dtype of activations by frozen network.
layouts: Memory[bytes, Any] = Memory(64)
#: Pools of activations by folder and frozen network; two, as a process may alternate.
pools: Memory[Any, Any] = Memory(2)
#: Compressions of activations; a search needs one for each fold.
projections: Memory[bytes, Any] = Memory(8)
#: Open stores by folder.
stores: Memory[str, Any] = Memory(8, close=lambda store: store.close())
#: Sessions of onnxruntime by content of the network, device and number of threads. A forked
#: process must not close its parent's: their threads do not exist there.
sessions: Memory[Any, Any] = Memory(4, close=lambda session: None)
#: Causes of warnings that were issued already.
warned: Memory[str, bool] = Memory(1000)
#: OpenCV's detectors, which each thread needs for itself.
thread_local = threading.local()


def first_time(cause: str) -> bool:
    """Return whether this is the first warning for a cause in this process."""
    if warned.get(cause) is not None:
        return False
    warned.put(cause, True)
    return True


def at_fork(function: Callable[[], None]) -> None:
    """Register a function to be called in each process forked from this one."""
    _at_fork.append(function)


def clear_memory() -> None:
    """Free the memory that skage keeps in this process between calls.

    This includes activations and their compressions, weights, detected faces, digests of
    files and open feature caches. Nothing on disk is deleted, and everything is computed
    again when it is needed.

    Examples
    --------
    >>> import skage
    >>> skage.clear_memory()
    """
    for memory in _process_state:
        if isinstance(memory, Memory):
            memory.clear()
    detectors.clear()


def _after_fork() -> None:
    for thing in _process_state:
        thing.after_fork()
    for function in _at_fork:
        function()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
