"""Frozen activations, computed once per image."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import mmap
import os
import random
import tempfile
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from .images import (
    SKIP_HINT,
    ImageError,
    check_readable,
    digest_and_decoder,
    map_ahead,
    remembered_digest,
    resize,
    summarise,
)
from .network import Part, digest
from .store import FeatureStore

_CHUNK = 32  # images a forward pass, and a transaction of the store
_NOTE_AFTER = 3600  # seconds, that a store is told of what is used out of a pool
_SHOWN = 20  # unreadable images that an error names
_VERSION = 3  # of the reading and resizing of images: another one, other keys

_layouts: dict[bytes, tuple[tuple[int, ...], np.dtype]] = {}  # by the prefix's digest
_layouts_lock = threading.Lock()


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
        self.digest = hashlib.blake2b(repr(facts).encode() + weights, digest_size=20).digest()
        if self.part is not None:
            mean, std = self.part.mean, self.part.std
            if self.device.type != "cpu" or self.dtype != torch.float32:
                self.part = copy.deepcopy(self.part)  # the caller keeps float32 on the CPU
            self.part.to(self.device, self.dtype).to(memory_format=torch.channels_last)
            # The pixels are normalised in float32 whatever follows.
            self.part.mean, self.part.std = mean.to(self.device), std.to(self.device)

    def key(self, image_digest: bytes) -> bytes:
        """Name of an image's activations in a store."""
        return hashlib.blake2b(image_digest + self.digest, digest_size=20).digest()

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

    @property
    def layout(self) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype of one image's activations."""
        with _layouts_lock:
            if self.digest not in _layouts:
                blank = np.zeros((1, self.image_size, self.image_size, 3), dtype=np.uint8)
                out = self(blank)
                _layouts[self.digest] = out.shape[1:], out.dtype
            return _layouts[self.digest]

    @property
    def label(self) -> str:
        """What a store says that these activations are."""
        modules = [] if self.part is None else list(self.part.modules())
        kinds = (("convolutions", nn.Conv2d), ("dense layers", nn.Linear))
        counts = [(sum(isinstance(m, kind) for m in modules), name) for name, kind in kinds]
        layers = [f"{count} {name}" for count, name in counts if count]
        arithmetic = str(self.dtype).removeprefix("torch.")
        return ", ".join((f"{self.image_size} px", *(layers or ["pixels"]), arithmetic))


def let_go(array: np.ndarray) -> None:
    """Let the system take back the memory of a mapped file until it is read again.

    Else joblib's workers, which count it as theirs, are taken for leaking and
    started anew in the middle of a search.
    """
    mapping = array.base
    if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


class ActivationPool:
    """Activations of one prefix by key, in a file without a name.

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

    def let_go(self) -> None:
        """See the function of this name."""
        if self._array is not None:
            let_go(self._array)

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


_N_POOLS = 2  # so many prefixes may take turns in a process
_pools: OrderedDict[tuple[str, bytes], ActivationPool] = OrderedDict()
_pools_lock = threading.Lock()


def _forget_pools() -> None:
    """In a forked child, which would write to its parent's files."""
    global _pools, _pools_lock, _layouts_lock
    _pools, _pools_lock, _layouts_lock = OrderedDict(), threading.Lock(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pools)


def shared_pool(
    prefix: FrozenPrefix, store: FeatureStore | None, make: bool = True
) -> ActivationPool | None:
    """The process's pool of a prefix, so that its fits read each activation once.

    Its file lies in the store's folder, and vanishes with the process. There is
    none without a store, or if `make` is False and no fit has made it.
    """
    if store is None:
        return None
    key = store.folder, prefix.digest
    with _pools_lock:
        if key not in _pools:
            if not make:
                return None
            _pools[key] = ActivationPool(store.folder if store.usable else None)
        _pools.move_to_end(key)
        while len(_pools) > _N_POOLS:
            _pools.popitem(last=False)
        return _pools[key]


@dataclass
class _Read:
    """An image that was read: either its activations are known, or its pixels."""

    position: int
    key: bytes
    known: np.ndarray | None
    pixels: np.ndarray | None


@dataclass
class Chunk:
    """Some images: where the readable ones stand in X, their keys, and what they gave."""

    positions: list[int]
    keys: list[bytes]
    activations: np.ndarray
    errors: list[ImageError]


def iter_activations(
    images: Sequence[Any],
    prefix: FrozenPrefix,
    *,
    positions: Sequence[int] | np.ndarray | None = None,
    store: FeatureStore | None = None,
    pool: ActivationPool | None = None,
    on_error: str = "raise",
    n_jobs: int | None = None,
    progress: bool = False,
) -> Generator[Chunk, None, None]:
    """Activations of images, a bounded chunk at a time.

    Files are read and decoded in threads ahead of the forward pass, a chunk or
    two of small pictures; an image whose activations are in the store or the
    pool is not decoded. `positions` takes some of the images only.
    """

    def known(key: bytes) -> np.ndarray | None:
        found = pool.get(key) if pool is not None else None
        if found is None and store is not None and (data := store.get(key)) is not None:
            shape, dtype = prefix.layout
            found = np.frombuffer(data, dtype).reshape(shape)
        return found

    def read(position: int) -> _Read | ImageError:
        try:
            content = remembered_digest(images[position])
            if content is not None:
                key = prefix.key(content)
                if (activation := known(key)) is not None:
                    return _Read(position, key, activation, None)
            content, decode = digest_and_decoder(images[position], position)
            key = prefix.key(content)
            activation = known(key)
            size = prefix.image_size
            pixels = resize(decode(size), size) if activation is None else None
            return _Read(position, key, activation, pixels)
        except ImageError as error:
            if on_error == "raise" and not error.skip:
                raise
            error.position = position
            return error

    wanted = range(len(images)) if positions is None else positions
    # In a worker of a parallel search, as many threads as it has processors.
    n_threads = torch.get_num_threads() if n_jobs is None else n_jobs
    results = map_ahead(read, map(int, wanted), n_threads, ahead=2 * _CHUNK)
    bar = tqdm(total=len(wanted), desc="images", unit="image", disable=not progress, leave=False)
    with bar, contextlib.closing(results):
        while batch := [result for _, result in zip(range(_CHUNK), results, strict=False)]:
            errors = [result for result in batch if isinstance(result, ImageError)]
            good = [result for result in batch if isinstance(result, _Read)]
            for r in good:  # it may have been computed since it was read, here or elsewhere
                if r.known is None:
                    r.known = known(r.key)
            yield Chunk(
                [r.position for r in good],
                [r.key for r in good],
                _activations(good, prefix, store),
                errors,
            )
            bar.update(len(batch))


def _activations(
    batch: list[_Read], prefix: FrozenPrefix, store: FeatureStore | None
) -> np.ndarray:
    """Activations of images that were read, those not known yet computed and stored."""
    if not batch:
        return np.empty(0)
    rows = {r.key: r.known for r in batch if r.known is not None}
    fresh = {r.key: r.pixels for r in batch if r.key not in rows and r.pixels is not None}
    if fresh:
        computed = dict(zip(fresh, prefix(np.stack(list(fresh.values()))), strict=True))
        if store is not None:
            store.put({key: row.tobytes() for key, row in computed.items()}, prefix.label)
        rows |= computed
    return np.stack([rows[r.key] for r in batch])


def _check_readable(
    images: Sequence[Any],
    positions: Sequence[int],
    prefix: FrozenPrefix,
    store: FeatureStore | None,
    n_jobs: int | None,
) -> None:
    """Refuse what cannot be read before the long pass, all of it at once."""

    def problem(position: int) -> ImageError | None:
        try:
            content = remembered_digest(images[position])
            if content is None or store is None or prefix.key(content) not in store:
                check_readable(images[position], position, prefix.image_size)
        except ImageError as error:
            error.position = position
            return None if error.skip else error
        return None

    n_threads = torch.get_num_threads() if n_jobs is None else n_jobs
    found = map_ahead(problem, positions, n_threads)
    errors = sorted((e for e in found if e is not None), key=lambda error: error.position)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        what, shown = summarise(errors, _SHOWN)
        more = [f"and {len(errors) - _SHOWN} more."] if len(errors) > _SHOWN else []
        error = ImageError("\n  ".join([f"{len(errors)} images {what}.", *shown, *more]), SKIP_HINT)
        error.errors = errors
        raise error


@dataclass
class Collected:
    """Activations of images.

    Parameters
    ----------
    array : ndarray (n_rows, ...), float16, float32 or uint8
        Activations of these images, and maybe of others.
    rows : ndarray (m,), int
        Where in `array` those of each readable image stand.
    keys : list of m bytes
        What the rows are of.
    positions : ndarray (m,), int
        Where the readable images stand among all, ascending.
    errors : list of ImageError
        What was wrong with the others.
    """

    array: np.ndarray
    rows: np.ndarray
    keys: list[bytes]
    positions: np.ndarray
    errors: list[ImageError] = field(default_factory=list)


def collect_activations(
    images: Sequence[Any],
    prefix: FrozenPrefix,
    *,
    positions: Sequence[int] | np.ndarray | None = None,
    store: FeatureStore | None = None,
    pool: ActivationPool | None = None,
    check: bool = True,
    **options: Any,
) -> Collected:
    """Activations of all readable images, through a pool.

    With `check`, images that cannot be read are looked for before the long pass.
    `options` are those of `iter_activations`. Two threads that share the pool
    take turns; two processes that share the store begin at different images,
    and so share the work.
    """
    pool = ActivationPool() if pool is None else pool
    found: dict[int, tuple[int, bytes]] = {}
    errors: list[ImageError] = []
    unknown = []
    with pool.turn:
        for position in range(len(images)) if positions is None else map(int, positions):
            content = remembered_digest(images[position])
            key = b"" if content is None else prefix.key(content)
            if (row := pool.row(key)) is not None:
                found[position] = row, key
            else:
                unknown.append(position)
        if store is not None and time.monotonic() - pool.used > _NOTE_AFTER:
            pool.used = time.monotonic()
            store.note_use(key for _, key in found.values())
        if unknown:
            start = random.SystemRandom().randrange(len(unknown)) if store is not None else 0
            unknown = unknown[start:] + unknown[:start]
            if check and options.get("on_error", "raise") == "raise":
                _check_readable(images, unknown, prefix, store, options.get("n_jobs"))
            chunks = iter_activations(
                images, prefix, positions=unknown, store=store, pool=pool, **options
            )
            with contextlib.closing(chunks):
                for chunk in chunks:
                    errors += chunk.errors
                    if chunk.positions:
                        rows = pool.put(chunk.keys, chunk.activations)
                        pairs = zip(rows, chunk.keys, strict=True)
                        found.update(zip(chunk.positions, pairs, strict=True))
        order = sorted(found)
        return Collected(
            pool.array if found else np.empty(0),
            np.array([found[p][0] for p in order], dtype=int),
            [found[p][1] for p in order],
            np.array(order, dtype=int),
            sorted(errors, key=lambda error: error.position),
        )
