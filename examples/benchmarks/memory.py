"""How much anonymous memory a process fills; what the benchmarks share."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def anonymous_memory() -> float:
    """Bytes; NaN where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return np.nan
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


@contextlib.contextmanager
def peak_memory() -> Iterator[list[float]]:
    """A list whose one element is the most that was seen so far."""
    seen, done = [anonymous_memory()], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            seen[0] = max(seen[0], anonymous_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()
