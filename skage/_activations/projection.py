"""Compression of frozen activations for the training of dense layers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor, nn

from .._files.store import FeatureStore
from .._hardware import one_thread
from .._keys import projection_key
from .._memory import projections
from .features import Collected
from .pool import ActivationPool

_BLOCK = 512  # rows that are float32 at a time
_SEED = 0  # of the random subspace: the same whatever the random_state of the fit


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
    """

    mean: np.ndarray
    components: np.ndarray
    scale: float

    def __call__(self, images: Collected, device: torch.device) -> np.ndarray:
        """Compressed activations of the images, (m, n_components), float16."""
        mean = torch.from_numpy(self.mean).to(device)
        scaled = self.scale * torch.from_numpy(self.components).to(device).float()
        return _paged(
            ((block - mean) @ scaled).clamp(-65504, 65504).half().cpu().numpy()
            for block in _blocks(images, images.rows, device)
        )

    def fold_into(self, layers: nn.Sequential) -> None:
        """Make layers that were trained on compressed rows take the activations themselves."""
        i, dense = next((i, m) for i, m in enumerate(layers) if isinstance(m, nn.Linear))
        with torch.no_grad():
            weight = self.scale * dense.weight @ torch.from_numpy(self.components).float().T
            whole = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
            whole.weight = nn.Parameter(weight)
            whole.bias = nn.Parameter(dense.bias - weight @ torch.from_numpy(self.mean))
        layers[i] = whole


def training_rows(
    versions: list[Collected],
    pool: ActivationPool,
    is_training: np.ndarray,
    n_components: int | None,
    device: torch.device,
    store: FeatureStore | None,
) -> tuple[np.ndarray, np.ndarray, Projection | None]:
    """What a network trains on.

    Parameters
    ----------
    versions : list of Collected
        Activations of the m images, and of copies of them, all in `pool`.
    is_training : ndarray (m,), bool
        Which of the images a projection may learn from.
    n_components : int or None
        None projects nothing.

    Returns
    -------
    activations : ndarray (n_rows, ...)
    rows : ndarray (m, n_versions), int
        Where in it each image's versions stand.
    projection : Projection or None
    """
    if n_components is None:
        return pool.array, np.stack([version.rows for version in versions], axis=1), None
    projection, compressed = compress(versions[0], is_training, n_components, device, store=store)
    if len(versions) > 1:
        compressed = np.concatenate([compressed, *(projection(v, device) for v in versions[1:])])
    rows = np.arange(len(compressed)).reshape(len(versions), -1).T
    return compressed, rows, projection


def compress(
    images: Collected,
    is_training: np.ndarray,
    n_components: int,
    device: torch.device,
    store: FeatureStore | None = None,
) -> tuple[Projection, np.ndarray]:
    """Project images to the subspace that suits those of them that train.

    A search meets the same images in every candidate: with a store, what was
    learned is kept there, and what was compressed within the process.

    Parameters
    ----------
    images : Collected
        Activations (n_features,) an image.
    is_training : ndarray (m,), bool
        Which of the images it may learn from.

    Returns
    -------
    projection : Projection
    rows : ndarray (m, n_components), float16
        The images compressed.

    Raises
    ------
    ValueError
        If there are fewer training images or features than components.
    """
    n_training, n_features = int(is_training.sum()), images.array.shape[1]
    if n_components > min(n_training, n_features):
        raise ValueError(
            f"n_components={n_components} is more than there are training images ({n_training}) "
            f"or activations an image ({n_features}). Pass a lower n_components, or None."
        )
    key = projection_key(images.keys, is_training, n_components)
    training_rows = images.rows[is_training]
    if store is None:
        projection = _learn(images, training_rows, n_components, device)
        return projection, projection(images, device)

    def make() -> tuple[Projection, np.ndarray]:
        known = _load(store.get(key))
        projection = known or _learn(images, training_rows, n_components, device)
        if known is None:
            store.put({key: _dump(projection)}, f"{n_components} components")
        projection = replace(projection, components=_paged([projection.components]))
        return projection, projection(images, device)

    return projections.get_or_make(key, make)


def _paged(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Blocks of rows, in a file without a name that the system may page out."""
    n_rows = 0
    with tempfile.TemporaryFile() as file:
        for block in blocks:
            file.write(block.data)
            n_rows += len(block)
        file.flush()
        return np.memmap(file, block.dtype, "c", shape=(n_rows, *block.shape[1:]))


def _learn(
    images: Collected, rows: np.ndarray, n_components: int, device: torch.device
) -> Projection:
    """Randomized subspace iteration (Halko, Martinsson and Tropp, SIAM Review 2011).

    Algorithm 4.3 with one iteration, without its last rotation, a block of rows
    at a time.
    """
    n_features = images.array.shape[1]
    mean = torch.zeros(n_features, dtype=torch.float32, device=device)
    for block in _blocks(images, rows, device):
        mean += block.sum(dim=0)
    mean /= len(rows)
    start = torch.randn(
        n_features,
        n_components,
        dtype=torch.float32,
        generator=torch.Generator().manual_seed(_SEED),
    ).to(device)
    subspace = torch.zeros_like(start)
    for block in _blocks(images, rows, device):
        block -= mean
        subspace.addmm_(block.T, block @ start)
    some = rows[:: max(len(rows) // _BLOCK, 1)][:_BLOCK]
    (block,) = _blocks(images, some, device)
    with one_thread():  # products of blocks come out the same on many, these do not
        components = torch.linalg.qr(subspace)[0].half().contiguous()  # as they are kept
        mean_square = ((block - mean) @ components.float()).square().mean().item()
    return Projection(mean.cpu().numpy(), components.cpu().numpy(), max(mean_square, 1e-12) ** -0.5)


def _blocks(images: Collected, rows: np.ndarray, device: torch.device) -> Iterator[Tensor]:
    activations = torch.from_numpy(images.array)
    for part in torch.from_numpy(rows).split(_BLOCK):
        yield activations[part].to(device).float()


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
