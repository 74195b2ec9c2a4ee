"""From images to activations: from the pool, the store or the frozen layers."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .._files.store import FeatureStore
from .._images.reading import (
    ImageError,
    check_readable,
    digest_and_decoder,
    map_ahead,
    raise_all,
    remembered_digest,
    resize,
)
from .frozen import FrozenNetwork
from .pool import ActivationPool

_CHUNK = 32  # images in a forward pass, and in a transaction of the store
_NOTE_INTERVAL = 3600  # seconds between two reports to the store of what the pool uses


@dataclass(frozen=True)
class Reading:
    """How images are read; see the parameters of `VGG16Classifier` and `Runtime`."""

    on_error: str = "raise"
    n_jobs: int | None = None
    progress: bool = False

    @property
    def n_threads(self) -> int:
        """Number of reading threads; in a joblib worker, its share of the processors."""
        return torch.get_num_threads() if self.n_jobs is None else self.n_jobs


@dataclass
class _Read:
    """An image that was read: its known activations, or else its pixels."""

    position: int
    key: bytes
    known: np.ndarray | None
    pixels: np.ndarray | None


@dataclass
class Chunk:
    """Activations of the readable images of a chunk, with their positions in X and keys.

    The activations are on the network's device if any of them were computed just now.
    `errors` are those of the unreadable images.
    """

    positions: list[int]
    keys: list[bytes]
    activations: Tensor
    errors: list[ImageError]


@dataclass
class Collected:
    """Activations of the m readable images among those that were asked for.

    Parameters
    ----------
    array : ndarray (n_rows, ...), float16, float32 or uint8
        Activations of these images, and possibly of others.
    rows : ndarray (m,), int
        Row of each readable image in `array`.
    keys : list of m bytes
        Keys that identify the activations.
    positions : ndarray (m,), int
        Positions of the readable images in X, ascending.
    errors : list of ImageError
        Errors of the unreadable images.
    """

    array: np.ndarray
    rows: np.ndarray
    keys: list[bytes]
    positions: np.ndarray
    errors: list[ImageError] = field(default_factory=list)


class Features:
    """Get activations from the pool, else from the store, else from the network.

    Parameters
    ----------
    network : FrozenNetwork
    store : FeatureStore or None
    pool : ActivationPool or None
        None for predictions if no fit has made a pool.
    reading : Reading
    """

    def __init__(
        self,
        network: FrozenNetwork,
        store: FeatureStore | None = None,
        pool: ActivationPool | None = None,
        reading: Reading = Reading(),
    ):
        self.network, self.store, self.pool, self.reading = network, store, pool, reading

    def stream(
        self, images: Sequence[Any], positions: Sequence[int] | None = None
    ) -> Generator[Chunk, None, None]:
        """Yield the activations of images, in chunks of bounded size.

        Threads read and decode up to two chunks ahead of the forward pass. An image
        whose activations are in the pool or the store is not decoded. `positions`
        selects some of the images.

        Raises
        ------
        ImageError
            At the first unreadable image, if `reading.on_error` is "raise".
        """

        def read(position: int) -> _Read | ImageError:
            try:
                return self._read(images[position], position)
            except ImageError as error:
                error.position = position
                if self.reading.on_error == "raise" and not error.skip:
                    raise
                return error

        wanted = range(len(images)) if positions is None else positions
        results = map_ahead(read, map(int, wanted), self.reading.n_threads, ahead=2 * _CHUNK)
        bar = tqdm(
            total=len(wanted),
            desc="images",
            unit="image",
            disable=not self.reading.progress,
            leave=False,
        )
        with bar, contextlib.closing(results):
            while batch := [result for _, result in zip(range(_CHUNK), results, strict=False)]:
                errors = [result for result in batch if isinstance(result, ImageError)]
                good = [result for result in batch if isinstance(result, _Read)]
                yield Chunk(
                    [r.position for r in good],
                    [r.key for r in good],
                    self._activations(good),
                    errors,
                )
                bar.update(len(batch))

    def collect(
        self,
        images: Sequence[Any],
        positions: Sequence[int] | np.ndarray | None = None,
        check: bool = True,
    ) -> Collected:
        """Return the activations of all readable images, and add them to the pool.

        With `check`, unreadable images are reported before the first forward pass.
        Threads that share the pool take turns. Processes that share the store begin
        at different images, and so share the work.

        Raises
        ------
        ImageError
            If images are unreadable and `reading.on_error` is "raise".
        """
        pool = self.pool = self.pool or ActivationPool()
        found: dict[int, tuple[int, bytes]] = {}
        errors: list[ImageError] = []
        unknown = []
        with pool.turn:
            for position in range(len(images)) if positions is None else map(int, positions):
                content = remembered_digest(images[position])
                key = b"" if content is None else self.network.key(content)
                if (row := pool.row(key)) is not None:
                    found[position] = row, key
                else:
                    unknown.append(position)
            self._note_use(pool, [key for _, key in found.values()])
            if unknown:
                start = random.SystemRandom().randrange(len(unknown)) if self.store else 0
                unknown = unknown[start:] + unknown[:start]
                if check and self.reading.on_error == "raise":
                    self._check_readable(images, unknown)
                with contextlib.closing(self.stream(images, unknown)) as chunks:
                    for chunk in chunks:
                        errors += chunk.errors
                        if chunk.positions:
                            rows = pool.put(chunk.keys, chunk.activations.cpu().numpy())
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

    def _read(self, image: Any, position: int) -> _Read:
        content = remembered_digest(image)
        if content is not None:
            key = self.network.key(content)
            if (known := self._known(key)) is not None:
                return _Read(position, key, known, None)
        content, decode = digest_and_decoder(image, position)
        key = self.network.key(content)
        known, size = self._known(key), self.network.image_size
        pixels = resize(decode(size), size) if known is None else None
        return _Read(position, key, known, pixels)

    def _known(self, key: bytes) -> np.ndarray | None:
        found = self.pool.get(key) if self.pool is not None else None
        if found is None and self.store is not None and (data := self.store.get(key)) is not None:
            shape, dtype = self.network.layout
            found = np.frombuffer(data, dtype).reshape(shape)
        return found

    def _activations(self, batch: list[_Read]) -> Tensor:
        """Return the activations of images, after computing and storing the unknown ones."""
        known: dict[bytes, np.ndarray] = {}
        fresh: dict[bytes, np.ndarray] = {}
        for r in batch:
            # Another thread or process may have computed them in the meantime.
            found = self._known(r.key) if r.known is None else r.known
            if found is not None:
                known[r.key] = found
            elif r.pixels is not None:
                fresh[r.key] = r.pixels
        blocks = []
        if known:
            blocks.append(torch.from_numpy(np.stack(list(known.values()))))
        if fresh:
            computed = self.network(np.stack(list(fresh.values())))
            if self.store is not None:
                rows = zip(fresh, computed.cpu().numpy(), strict=True)
                self.store.put({key: row.tobytes() for key, row in rows}, self.network.label)
            blocks = [*(block.to(computed.device) for block in blocks), computed]
        if not blocks:
            return torch.empty(0)
        row = {key: i for i, key in enumerate([*known, *fresh])}
        return torch.cat(blocks)[[row[r.key] for r in batch]]

    def _note_use(self, pool: ActivationPool, keys: list[bytes]) -> None:
        if self.store is not None and time.monotonic() - pool.used > _NOTE_INTERVAL:
            pool.used = time.monotonic()
            self.store.note_use(keys)

    def _check_readable(self, images: Sequence[Any], positions: Sequence[int]) -> None:
        """Raise one error that names all unreadable images."""

        def problem(position: int) -> ImageError | None:
            try:
                content = remembered_digest(images[position])
                key = None if content is None else self.network.key(content)
                if self.store is None or key is None or key not in self.store:
                    check_readable(images[position], position, self.network.image_size)
            except ImageError as error:
                error.position = position
                return None if error.skip else error
            return None

        found = map_ahead(problem, positions, self.reading.n_threads)
        errors = sorted((e for e in found if e is not None), key=lambda error: error.position)
        raise_all(errors)
