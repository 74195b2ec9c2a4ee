"""Compression of frozen activations for the training of dense layers."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor, nn

from .cache import Collected
from .store import FeatureStore

_BLOCK = 512  # rows that are float32 at a time
_SEED = 0  # of the random subspace: the same whatever the random_state of the fit
_N_KEPT = 8  # projections kept in a process: a search meets one a fold


@dataclass
class Projection:
    """A subspace of the activations, learned from the training images.

    A row x becomes ``(x - mean) @ components * scale``, of unit mean square.

    Parameters
    ----------
    mean : ndarray (n_features,), float32
    components : ndarray (n_features, n_components), float16
        Orthonormal columns.
    scale : float
    rows : ndarray (m, n_components), float16
        The images that it was made for, compressed.
    """

    mean: np.ndarray
    components: np.ndarray
    scale: float
    rows: np.ndarray

    def fold_into(self, layers: nn.Sequential) -> None:
        """Make layers that were trained on compressed rows take the activations themselves."""
        i, dense = next((i, m) for i, m in enumerate(layers) if isinstance(m, nn.Linear))
        with torch.no_grad():
            weight = self.scale * dense.weight @ torch.from_numpy(self.components).float().T
            whole = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
            whole.weight = nn.Parameter(weight)
            whole.bias = nn.Parameter(dense.bias - weight @ torch.from_numpy(self.mean))
        layers[i] = whole


_kept: OrderedDict[bytes, Projection] = OrderedDict()
_lock = threading.Lock()


def find_projection(
    images: Collected,
    is_training: np.ndarray,
    n_components: int,
    device: torch.device,
    store: FeatureStore | None = None,
) -> Projection:
    """The projection that suits some training images: learned, or known already.

    Randomized subspace iteration (Halko, Martinsson and Tropp, SIAM Review
    2011, algorithm 4.3 with one iteration, without its last rotation), a block of
    rows at a time. With a store it is learned once for all processes, and
    once in a process in any case.

    Parameters
    ----------
    images : Collected
        Activations (n_features,) an image.
    is_training : ndarray (m,), bool
        Which of the images it may learn from.

    Raises
    ------
    ValueError
        If there are fewer training images or features than components.
    """
    n_training, n_features = int(is_training.sum()), images.array.shape[1]
    if n_components > min(n_training, n_features):
        raise ValueError(
            f"n_components={n_components} is more than there are training images ({n_training}) "
            f"or activations an image ({n_features}). Lower it, or pass None."
        )
    hasher = hashlib.blake2b(b"projection %d" % n_components, digest_size=20)
    hasher.update(b"".join(images.keys) + np.packbits(is_training).tobytes())
    key = hasher.digest()
    with _lock:
        if key not in _kept:
            known = _load(store.get(key)) if store is not None else None
            found = known or _learn(images, is_training, n_components, device)
            if store is not None and known is None:
                store.put({key: _dump(found)}, f"{n_components} components")
            _kept[key] = _paged(found)
        _kept.move_to_end(key)
        while len(_kept) > _N_KEPT:
            _kept.popitem(last=False)
        return _kept[key]


def _learn(
    images: Collected, is_training: np.ndarray, n_components: int, device: torch.device
) -> Projection:
    activations = torch.from_numpy(images.array)
    learning = images.rows[is_training]

    def blocks(rows: np.ndarray) -> Iterator[Tensor]:
        for part in torch.from_numpy(rows).split(_BLOCK):
            yield activations[part].to(device).float()

    n_training, n_features = len(learning), activations.shape[1]
    mean = torch.zeros(n_features, device=device)
    for block in blocks(learning):
        mean += block.sum(dim=0)
    mean /= len(learning)
    start = torch.randn(n_features, n_components, generator=torch.Generator().manual_seed(_SEED))
    subspace = torch.zeros(n_features, n_components, device=device)
    start = start.to(device)
    for block in blocks(learning):
        block -= mean
        subspace.addmm_(block.T, block @ start)
    components = torch.linalg.qr(subspace)[0].half().contiguous()  # as they are kept
    wide = components.float()

    rows = torch.cat([((block - mean) @ wide).half().cpu() for block in blocks(images.rows)])
    squares = [part.float().square().sum().item() for part in rows[is_training].split(_BLOCK)]
    scale = (n_training * n_components / max(sum(squares), 1e-12)) ** 0.5
    rows *= scale
    return Projection(mean.cpu().numpy(), components.cpu().numpy(), scale, rows.numpy())


def _dump(projection: Projection) -> bytes:
    tensors = {**vars(projection), "scale": np.array([projection.scale])}
    return save(tensors)


def _load(data: bytes | None) -> Projection | None:
    if data is None:
        return None
    try:
        tensors = load(data)
        scale = tensors.pop("scale").item()
        return Projection(**tensors, scale=scale)
    except (SafetensorError, KeyError, TypeError, ValueError):
        return None


def _paged(projection: Projection) -> Projection:
    """The same in files without names, which the system may page out."""
    arrays = {}
    for name in ("components", "rows"):
        array: np.ndarray = getattr(projection, name)
        with tempfile.TemporaryFile() as file:
            file.write(array.data)
            file.flush()
            arrays[name] = np.memmap(file, array.dtype, "c", shape=array.shape)
    return Projection(projection.mean, arrays["components"], projection.scale, arrays["rows"])
