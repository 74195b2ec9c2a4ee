"""Activations that the fits of this process share, in a file mapped into memory."""

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
    """Let the system take back the memory of a mapped file until it is read again.

    Else joblib's workers, which count it as theirs, are taken for leaking and
    started anew in the middle of a search.
    """
    mapping = array.base
    if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


class ActivationPool:
    """Activations of one network's frozen layers by key, in a file without a name.

    Parameters
    ----------
    folder : path, default=None
        Where the file lies; None is the system's folder of temporary files.
    """

    def __init__(self, folder: str | None = None):
        self.turn = threading.Lock()  # of who fills it
        self.used = time.monotonic()
        self._lock = threading.RLock()
        self._rows: dict[bytes, int] = {}
        # Without a buffer: a failed or forked process must not write twice.
        self._file = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._array: np.ndarray | None = None
        self._layout: tuple[tuple[int, ...], np.dtype] = (), np.dtype(np.float16)

    @property
    def array(self) -> np.ndarray:
        """All activations, (n_rows, ...); later ones come behind them."""
        with self._lock:
            if self._array is None or len(self._array) < len(self._rows):
                shape, dtype = self._layout
                self._array = np.memmap(self._file, dtype, "c", shape=(len(self._rows), *shape))
            return self._array

    def row(self, key: bytes) -> int | None:
        """Where the activations of a key stand in `array`."""
        return self._rows.get(key)

    def get(self, key: bytes) -> np.ndarray | None:
        """The activations of a key, or None."""
        row = self._rows.get(key)
        return None if row is None else self.array[row]

    def release_pages(self) -> None:
        """See the function of this name."""
        if self._array is not None:
            release_pages(self._array)

    def put(self, keys: Sequence[bytes], activations: np.ndarray) -> list[int]:
        """Append what is new, and say where each row stands."""
        with self._lock:
            self._layout = activations.shape[1:], activations.dtype
            for key, activation in zip(keys, activations, strict=True):
                if key not in self._rows:
                    # A row counts when it is written, whole and where it belongs.
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
    """The process's pool of a network, so that its fits read each activation once.

    Its file lies in the store's folder, and vanishes with the process. There is
    none without a store, or if `make` is False and no fit has made it.
    """
    if store is None:
        return None
    key = store.folder, network.digest
    if not make:
        return pools.get(key)
    folder = store.folder if store.usable else None
    return pools.get_or_make(key, lambda: ActivationPool(folder))
