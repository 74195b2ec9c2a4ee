"""Where to keep activations: SQLite, LMDB, a file each, or safetensors shards.

    pip install lmdb
    python examples/benchmarks/stores.py

Writes rows of 25,088 float16 numbers in chunks of 32, as fit does, from one
process and from two at once, and reads them back in another order.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from skage._files.store import FeatureStore

ROW = 2 * 25_088
CHUNK = 32


def make_rows(first: int, n: int) -> dict[bytes, bytes]:
    """Half zeros, as after a ReLU; no two alike."""
    rows = {}
    for i in range(first, first + n):
        numbers = np.random.default_rng(i).normal(size=ROW // 2).clip(0).astype(np.float16)
        rows[b"%020d" % i] = numbers.tobytes()
    return rows


class SQLite(FeatureStore):
    name = "SQLite (skage)"


class LMDB:
    name = "LMDB"

    def __init__(self, folder):
        import lmdb

        self.env = lmdb.open(folder, map_size=2**34, sync=False)

    def put(self, rows):
        with self.env.begin(write=True) as transaction:
            for key, data in rows.items():
                transaction.put(key, zlib.crc32(data).to_bytes(4, "big") + data)

    def get(self, key):
        with self.env.begin() as transaction:
            found = transaction.get(key)
        return found[4:] if found and zlib.crc32(found[4:]) == int.from_bytes(found[:4]) else None

    def close(self):
        self.env.close()


class Files:
    name = "a file an image"

    def __init__(self, folder):
        self.folder = Path(folder)

    def put(self, rows):
        for key, data in rows.items():
            temporary = self.folder / f"{key.decode()}.{os.getpid()}"
            temporary.write_bytes(zlib.crc32(data).to_bytes(4, "big") + data)
            temporary.replace(self.folder / key.decode())

    def get(self, key):
        found = (self.folder / key.decode()).read_bytes()
        return found[4:] if zlib.crc32(found[4:]) == int.from_bytes(found[:4]) else None

    def close(self):
        pass


class Shards:
    name = "safetensors, a file a chunk"

    def __init__(self, folder):
        self.folder, self.index = Path(folder), {}

    def put(self, rows):
        tensors = {key.decode(): np.frombuffer(data, np.uint8) for key, data in rows.items()}
        path = self.folder / f"{next(iter(tensors))}.{os.getpid()}"
        path.with_suffix(".partial").write_bytes(save(tensors))
        path.with_suffix(".partial").replace(path)

    def get(self, key):
        if not self.index:
            for path in self.folder.iterdir():
                shard = safe_open(path, "np")
                self.index |= dict.fromkeys(shard.keys(), shard)
        data = self.index[key.decode()].get_tensor(key.decode()).tobytes()
        zlib.crc32(data)  # as the others
        return data

    def close(self):
        pass


def write(kind, folder, rows):
    store = kind(folder)
    keys = list(rows)
    for i in range(0, len(keys), CHUNK):
        store.put({key: rows[key] for key in keys[i : i + CHUNK]})
    store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--folder", help="on the disk to be measured")
    options = parser.parse_args()
    n = options.images
    rows, others = make_rows(0, n), make_rows(n, n)
    order = np.random.default_rng(0).permutation(n)
    keys = [list(rows)[i] for i in order]
    print("| store | write, images/s | two at once | read | MB |\n|---|---:|---:|---:|---:|")
    for kind in (SQLite, LMDB, Files, Shards):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            start = time.perf_counter()
            write(kind, folder, rows)
            written = time.perf_counter() - start
            store = kind(folder)
            start = time.perf_counter()
            if any(store.get(key) != rows[key] for key in keys):
                raise AssertionError("a row came back otherwise than it went")
            read = time.perf_counter() - start
            store.close()
            size = sum(os.stat(path).st_blocks * 512 for path in Path(folder).iterdir())
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            fork = multiprocessing.get_context("fork")
            writers = [fork.Process(target=write, args=(kind, folder, r)) for r in (rows, others)]
            start = time.perf_counter()
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join()
            both = time.perf_counter() - start
        print(f"| {kind.name} | {n / written:.0f} | {2 * n / both:.0f} | {n / read:.0f} |", end="")
        print(f" {size / 1e6:.0f} |", flush=True)


if __name__ == "__main__":
    main()
