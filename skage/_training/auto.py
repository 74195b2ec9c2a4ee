"""Defaults of VGG16Classifier that follow the number of training images."""

from __future__ import annotations

from typing import Any

from torch.optim import SGD

# With fewer training images, fit warns: the rules were not measured on them.
FEWEST = 100


def n_components(n_images: int, most: int) -> int:
    """Number of components to reduce the activations to."""
    return max(1, min(2048, n_images * 4 // 5, most))


def batch_size(n_images: int) -> int:
    """Number of images in a training step."""
    return 32 if n_images < 500 else 64 if n_images < 1500 else 128


def embedding_lr(optimizer: Any) -> float:
    """Learning rate of an optimizer, for dense layers on standardised features."""
    return 0.01 if _is_sgd(optimizer) else 1e-3


def learning_rate(optimizer: Any, compressed: bool) -> float:
    """Learning rate of an optimizer, for dense layers on compressed activations or any others."""
    if not _is_sgd(optimizer):
        return 5e-4
    return 0.01 if compressed else 1e-3


def _is_sgd(optimizer: Any) -> bool:
    return getattr(optimizer, "func", optimizer) in ("sgd", SGD)  # func: of a partial


def loss(in_years: bool) -> str | dict[str, float]:
    """Loss of the default recipe, with ages in years or with labels alone."""
    return {"cross_entropy": 1.0, "expectation_l1": 0.5} if in_years else "cross_entropy"
