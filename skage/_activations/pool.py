"""Activations that the fits of this process share, in a memory-mapped file."""

from __future__ import annotations

import mmap
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence

import numpy as np

from .._files.store import FeatureStore
from .._memory import pools
from .frozen import FrozenNetwork


def release_pages(array: np.ndarray) -> None:
    """Release the resident pages of a memory-mapped array; reading it loads them again.

    Otherwise joblib's worker pool counts them as a memory leak, and restarts workers
    in the middle of a search.
    """
    mapping = array.base
    if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


class ActivationPool:
    """Activations of one frozen network by key, in an unnamed memory-mapped file.

    Parameters
    ----------
    folder : path, default=None
        Folder of the file; None stands for the system's temporary folder.
    """

    def __init__(self, folder: str | None = None):
        self.turn = threading.Lock()  # held while a thread adds missing activations
        self.used = time.monotonic()
        self._lock = threading.RLock()
        self._rows: dict[bytes, int] = {}
        # Unbuffered: a failed write is not retried later, nor a parent's by its fork.
        self._file = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._array: np.ndarray | None = None
        self._layout: tuple[tuple[int, ...], np.dtype] = (), np.dtype(np.float16)

    @property
    def array(self) -> np.ndarray:
        """All activations, (n_rows, ...). Rows that are added later do not move earlier ones."""
        with self._lock:
            if self._array is None or len(self._array) < len(self._rows):
                shape, dtype = self._layout
                self._array = np.memmap(self._file, dtype, "c", shape=(len(self._rows), *shape))
            return self._array

    def row(self, key: bytes) -> int | None:
        """Return the row of a key in `array`, or None."""
        return self._rows.get(key)

    def get(self, key: bytes) -> np.ndarray | None:
        """Return the activations of a key, or None."""
        row = self._rows.get(key)
        return None if row is None else self.array[row]

    def release_pages(self) -> None:
        """Release the resident pages of `array`; see the function `release_pages`."""
        if self._array is not None:
            release_pages(self._array)

    def put(self, keys: Sequence[bytes], activations: np.ndarray) -> list[int]:
        """Append the activations of new keys, and return the row of each key."""
        with self._lock:
            self._layout = activations.shape[1:], activations.dtype
            for key, activation in zip(keys, activations, strict=True):
                if key not in self._rows:
                    # The row is registered only after a complete write.
                    self._write(activation, len(self._rows))
                    self._rows[key] = len(self._rows)
            return [self._rows[key] for key in keys]

    def _write(self, activation: np.ndarray, row: int) -> None:
        data = activation.data.cast("B")
        self._file.seek(row * activation.nbytes)
        while data:
            data = data[self._file.write(data) :]


def shared_pool(
    network: FrozenNetwork, store: FeatureStore | None, make: bool = True
) -> ActivationPool | None:
    """Return this process's pool for a network, which lets its fits share activations.

    Its file is in the store's folder, and is deleted with the process. None without a
    store, or if `make` is False and no fit has made the pool.
    """
    if store is None:
        return None
    key = store.folder, network.digest
    if not make:
        return pools.get(key)
    folder = store.folder if store.usable else None
    return pools.get_or_make(key, lambda: ActivationPool(folder))
