"""Frozen activations, computed once per image."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import sqlite3
import tempfile
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import platformdirs
import torch
from tqdm.auto import tqdm

from .images import ImageError, digest_and_decoder, map_ahead, resize
from .network import Part, digest

_CHUNK = 32  # images a forward pass, and a transaction of the store
_VERSION = 1  # of the reading and resizing of images: another one, other keys


class FeatureStore:
    """Activations on disk, shared by processes and days.

    One SQLite file: an entry is there whole or not at all, whoever is killed
    when. Each carries a checksum, and an entry that fails it counts as absent.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = os.fspath(folder)
        self._lock = threading.Lock()
        self._usable = True
        try:
            os.makedirs(self.folder, exist_ok=True)
            self._db = sqlite3.connect(
                os.path.join(self.folder, "activations.sqlite"),
                timeout=60,
                isolation_level=None,
                check_same_thread=False,
            )
            self._db.execute("PRAGMA page_size = 16384")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS activation "
                "(key BLOB PRIMARY KEY, checksum INTEGER, data BLOB)"
            )
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def get(self, key: bytes) -> bytes | None:
        """The stored activations of an image, or None."""
        with self._lock:
            if not self._usable:
                return None
            try:
                row = self._db.execute(
                    "SELECT checksum, data FROM activation WHERE key = ?", (key,)
                ).fetchone()
            except sqlite3.Error as error:
                self._give_up(error)
                return None
        return row[1] if row is not None and zlib.crc32(row[1]) == row[0] else None

    def put(self, entries: Mapping[bytes, bytes]) -> None:
        """Store activations, all or none."""
        rows = [(key, zlib.crc32(data), data) for key, data in entries.items()]
        with self._lock:
            if not self._usable:
                return
            try:
                with self._transaction():
                    self._db.executemany(
                        "INSERT OR REPLACE INTO activation (key, checksum, data) VALUES (?, ?, ?)",
                        rows,
                    )
            except sqlite3.Error as error:
                self._give_up(error)

    def close(self) -> None:
        with contextlib.suppress(AttributeError):  # the file was never opened
            self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        warnings.warn(
            f"The feature cache in {self.folder!r} cannot be used ({error}); going on without "
            "it. Pass another folder as feature_cache, or None.",
            stacklevel=4,
        )


@contextlib.contextmanager
def open_store(feature_cache: str | os.PathLike | None) -> Iterator[FeatureStore | None]:
    """The store of a classifier's ``feature_cache``: "auto", a folder, or none."""
    if feature_cache is None:
        yield None
        return
    if feature_cache == "auto":
        feature_cache = platformdirs.user_cache_dir("skage", appauthor=False)
    with contextlib.closing(FeatureStore(feature_cache)) as store:
        yield store


@dataclass
class FrozenPrefix:
    """A frozen part of the network, ready to be applied to images.

    Parameters
    ----------
    part : Part or None
        None stands for no frozen layer at all: the activations are the pixels.
    image_size : int
        Images are squeezed to this side, in pixels.
    dtype : torch.dtype
        Of the forward pass.
    device : torch.device
    exact : bool
        Keep activations in float32 rather than float16.
    """

    part: Part | None
    image_size: int
    dtype: torch.dtype
    device: torch.device
    exact: bool = False

    def __post_init__(self) -> None:
        facts = (_VERSION, self.image_size, str(self.dtype), self.device.type, self.exact)
        weights = b"pixels" if self.part is None else digest(self.part)
        self._key = hashlib.blake2b(repr(facts).encode() + weights, digest_size=20).digest()
        if self.part is not None:
            if self.device.type != "cpu" or self.dtype != torch.float32:
                self.part = copy.deepcopy(self.part)  # the caller keeps float32 on the CPU
            self.part.to(self.device, self.dtype).to(memory_format=torch.channels_last)
            # The pixels are normalised in float32 whatever follows.
            self.part.mean, self.part.std = self.part.mean.float(), self.part.std.float()

    def key(self, image_digest: bytes) -> bytes:
        """Name of an image's activations in a store."""
        return hashlib.blake2b(image_digest + self._key, digest_size=20).digest()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, s, s, 3) -> activations (n, ...), float16 or float32."""
        if self.part is None:
            return pixels
        with torch.inference_mode():
            # On a CPU few images at a time stay in its caches.
            step = 8 if self.device.type == "cpu" else len(pixels)
            blocks = torch.from_numpy(pixels).to(self.device).split(step)
            out = torch.cat([self.part(block).float() for block in blocks])
            if not self.exact:
                out = out.clamp(-65504, 65504).half()
            return out.cpu().contiguous().numpy()

    @cached_property
    def layout(self) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype of one image's activations."""
        blank = np.zeros((1, self.image_size, self.image_size, 3), dtype=np.uint8)
        out = self(blank)
        return out.shape[1:], out.dtype


@dataclass
class _Read:
    """An image that was read: either its activations are known, or its pixels."""

    position: int
    key: bytes
    known: bytes | None
    pixels: np.ndarray | None


@dataclass
class Chunk:
    """Consecutive images: where the readable ones stand in X, and what they gave."""

    positions: list[int]
    activations: np.ndarray
    errors: list[ImageError]


def iter_activations(
    images: Sequence[Any],
    prefix: FrozenPrefix,
    *,
    positions: Sequence[int] | np.ndarray | None = None,
    store: FeatureStore | None = None,
    on_error: str = "raise",
    n_jobs: int | None = None,
    progress: bool = False,
) -> Iterator[Chunk]:
    """Activations of images, a bounded chunk at a time.

    Files are read and decoded in threads ahead of the forward pass, a chunk or
    two of small pictures; an image whose activations are in the store is not
    decoded. `positions` takes some of the images only.
    """

    def read(position: int) -> _Read | ImageError:
        try:
            content, decode = digest_and_decoder(images[position], position)
            key = prefix.key(content)
            known = store.get(key) if store is not None else None
            pixels = resize(decode(), prefix.image_size) if known is None else None
            return _Read(position, key, known, pixels)
        except ImageError as error:
            if on_error == "raise":
                raise
            return error

    wanted = range(len(images)) if positions is None else positions
    results = map_ahead(read, map(int, wanted), n_jobs, ahead=2 * _CHUNK)
    bar = tqdm(total=len(wanted), desc="images", unit="image", disable=not progress, leave=False)
    with bar, contextlib.closing(results):
        while batch := [result for _, result in zip(range(_CHUNK), results, strict=False)]:
            errors = [result for result in batch if isinstance(result, ImageError)]
            good = [result for result in batch if isinstance(result, _Read)]
            yield Chunk([r.position for r in good], _activations(good, prefix, store), errors)
            bar.update(len(batch))


def _activations(
    batch: list[_Read], prefix: FrozenPrefix, store: FeatureStore | None
) -> np.ndarray:
    """Activations of images that were read, those not known yet computed and stored."""
    if not batch:
        return np.empty(0)
    fresh = {r.key: r.pixels for r in batch if r.pixels is not None}
    rows: dict[bytes, np.ndarray] = {}
    if fresh:
        rows = dict(zip(fresh, prefix(np.stack(list(fresh.values()))), strict=True))
        if store is not None:
            store.put({key: row.tobytes() for key, row in rows.items()})
    for r in batch:
        if r.known is not None:
            shape, dtype = prefix.layout
            rows[r.key] = np.frombuffer(r.known, dtype).reshape(shape)
    return np.stack([rows[r.key] for r in batch])


def collect_activations(
    images: Sequence[Any], prefix: FrozenPrefix, **options: Any
) -> tuple[np.ndarray, np.ndarray, list[ImageError]]:
    """Activations of all readable images, in a file that the system may page out.

    Returns
    -------
    activations : memmap (m, ...), float16, float32 or uint8
    positions : ndarray (m,), int
        Where the readable images stand in `images`.
    errors : list of ImageError
        What was wrong with the others.
    """
    positions: list[int] = []
    errors: list[ImageError] = []
    with tempfile.TemporaryFile() as file:
        for chunk in iter_activations(images, prefix, **options):
            positions += chunk.positions
            errors += chunk.errors
            if chunk.positions:
                shape, dtype = chunk.activations.shape[1:], chunk.activations.dtype
                file.write(chunk.activations.data)
        file.flush()
        if not positions:
            return np.empty(0), np.empty(0, dtype=int), errors
        # The mapping outlives the file, which has no name.
        data = np.memmap(file, dtype, "c", shape=(len(positions), *shape))
    return data, np.array(positions), errors
