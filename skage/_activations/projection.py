"""Projection of frozen activations to fewer components, to train dense layers faster."""

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

_BLOCK = 512  # rows converted to float32 at a time
_SEED = 0  # of the initial random subspace, independent of the fit's random_state


@dataclass
class Projection:
    """A projection to a subspace of the activations, learned from the training images.

    A row x becomes ``(x - mean) @ components * scale``, which has unit mean square.

    Parameters
    ----------
    mean : ndarray (n_features,), float32
        Mean of the training activations.
    components : ndarray (n_features, n_components), float16
        Orthonormal columns.
    scale : float
    """

    mean: np.ndarray
    components: np.ndarray
    scale: float

    def __call__(self, images: Collected, device: torch.device) -> np.ndarray:
        """Return the projected activations of the images, (m, n_components), float16."""
        mean = torch.from_numpy(self.mean).to(device)
        scaled = self.scale * torch.from_numpy(self.components).to(device).float()
        return _to_memmap(
            ((block - mean) @ scaled).clamp(-65504, 65504).half().cpu().numpy()
            for block in _blocks(images, images.rows, device)
        )

    def merge_into(self, layers: nn.Sequential) -> None:
        """Replace the first dense layer, trained on projected rows, by one on activations."""
        i, dense = next((i, m) for i, m in enumerate(layers) if isinstance(m, nn.Linear))
        with torch.no_grad():
            weight = self.scale * dense.weight @ torch.from_numpy(self.components).float().T
            merged = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
            merged.weight = nn.Parameter(weight)
            merged.bias = nn.Parameter(dense.bias - weight @ torch.from_numpy(self.mean))
        layers[i] = merged


def training_rows(
    versions: list[Collected],
    pool: ActivationPool,
    is_training: np.ndarray,
    n_components: int | None,
    device: torch.device,
    store: FeatureStore | None,
) -> tuple[np.ndarray, np.ndarray, Projection | None]:
    """Return the rows that a network trains on.

    Parameters
    ----------
    versions : list of Collected
        Activations of the m images, and of copies of them, all in `pool`.
    is_training : ndarray (m,), bool
        Which of the images the projection is learned from.
    n_components : int or None
        None leaves the activations as they are.

    Returns
    -------
    activations : ndarray (n_rows, ...)
    rows : ndarray (m, n_versions), int
        Row in `activations` of each version of an image.
    projection : Projection or None

    Raises
    ------
    ValueError
        If `n_components` exceeds the number of training images or of activations.
    """
    if n_components is None:
        return pool.array, np.stack([version.rows for version in versions], axis=1), None
    projection, projected = project(versions[0], is_training, n_components, device, store=store)
    if len(versions) > 1:
        projected = np.concatenate([projected, *(projection(v, device) for v in versions[1:])])
    rows = np.arange(len(projected)).reshape(len(versions), -1).T
    return projected, rows, projection


def project(
    images: Collected,
    is_training: np.ndarray,
    n_components: int,
    device: torch.device,
    store: FeatureStore | None = None,
) -> tuple[Projection, np.ndarray]:
    """Learn a projection from the training images, and project all images.

    The candidates of a search share the same images. With a store, the projection is
    therefore kept in the store, and the projected rows in the process.

    Parameters
    ----------
    images : Collected
        Activations of m images, each of shape (n_features,).
    is_training : ndarray (m,), bool
        Which of the images the projection is learned from.

    Returns
    -------
    projection : Projection
    rows : ndarray (m, n_components), float16
        The projected activations.

    Raises
    ------
    ValueError
        If `n_components` exceeds the number of training images or of features.
    """
    n_training, n_features = int(is_training.sum()), images.array.shape[1]
    if n_components > min(n_training, n_features):
        raise ValueError(
            f"n_components={n_components} exceeds the number of training images ({n_training}) "
            f"or of activations per image ({n_features}). Pass a lower n_components, or None."
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
        projection = replace(projection, components=_to_memmap([projection.components]))
        return projection, projection(images, device)

    return projections.get_or_make(key, make)


def _to_memmap(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Write blocks of rows to an unnamed memory-mapped file, which can be paged out."""
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
    """Learn a projection by randomized subspace iteration, one block of rows at a time.

    This is algorithm 4.3 of Halko, Martinsson and Tropp (SIAM Review 2011) with one
    iteration and without the final rotation.
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
    # Unlike the products above, these depend on the number of threads in their last bits.
    with one_thread():
        components = torch.linalg.qr(subspace)[0].half().contiguous()
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
