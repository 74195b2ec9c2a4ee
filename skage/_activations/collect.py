"""From images to activations, each image passing the frozen layers once."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from .._files.store import FeatureStore
from .._images.reading import (
    SKIP_HINT,
    ImageError,
    check_readable,
    digest_and_decoder,
    map_ahead,
    remembered_digest,
    resize,
    summarise,
)
from .frozen import FrozenPrefix
from .pool import ActivationPool

_CHUNK = 32  # images a forward pass, and a transaction of the store
_NOTE_AFTER = 3600  # seconds, that a store is told of what is used out of a pool
_SHOWN = 20  # unreadable images that an error names


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
