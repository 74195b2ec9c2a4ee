"""All cache keys, and their versions.

A key is a digest of everything that determines the cached value. Increase the version
when the way a value is computed changes, so that older values are not found any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

_READING = 3  # reading and resizing images
_JITTER = 1  # making jittered copies
_CROPPING = 2  # detecting faces, and cutting them out
_PROJECTION = 1  # learning projections of activations
_TRAINING = 1  # contents of checkpoint files


def _digest(kind: str, *parts: bytes | memoryview) -> bytes:
    hasher = hashlib.blake2b(digest_size=20, person=kind.encode()[:16])
    for part in parts:
        hasher.update(part)
    return hasher.digest()


def _facts(*facts: Any) -> bytes:
    return repr(facts).encode()


def file_key(content: bytes) -> bytes:
    """Return the key of an image file, from its content."""
    return _digest("file", content)


def pixels_key(size: tuple[int, int], pixels: bytes) -> bytes:
    """Return the key of an RGB image, from its pixels."""
    return _digest("pixels", _facts(size), pixels)


def derived_key(source: bytes, recipe: bytes) -> bytes:
    """Return the key of an image made from another, from the source's key and the recipe."""
    return _digest("derived", source, recipe)


def jitter_recipe(settings: Any) -> bytes:
    """Return the recipe of a jittered copy."""
    return _facts(_JITTER, settings)


def detector_version(name: str, opencv: str, checksum: str) -> str:
    """Return the version of a built-in detector: everything that its boxes depend on."""
    return f"{_CROPPING} {name} {opencv} {checksum}"


def crop_recipe(*facts: Any) -> bytes:
    """Return the recipe of a face crop."""
    return _facts(*facts)


def faces_key(image: bytes, version: str, angles: tuple[float, ...]) -> bytes:
    """Return the key of the faces detected in an image."""
    return _digest("faces", image, _facts(version, angles))


def network_key(layers: str, tensors: Iterable[tuple[str, np.ndarray]]) -> bytes:
    """Return the key of a network, from its layers and weights."""
    parts: list[Any] = [layers.encode()]
    for name, array in tensors:
        parts += [_facts(name, array.shape), np.ascontiguousarray(array).data.cast("B")]
    return _digest("network", *parts)


def frozen_key(network: bytes, image_size: int, *arithmetic: Any) -> bytes:
    """Return the key of frozen layers, the image size and the arithmetic."""
    return _digest("frozen", network, _facts(_READING, image_size, *arithmetic))


def activations_key(image: bytes, frozen: bytes) -> bytes:
    """Return the key of an image's activations."""
    return _digest("activations", image, frozen)


def projection_key(activations: list[bytes], is_training: np.ndarray, n_components: int) -> bytes:
    """Return the key of a projection, from the activations and the training mask."""
    mask = np.packbits(is_training).tobytes()
    return _digest("projection", _facts(_PROJECTION, n_components), *activations, mask)


def training_name(network: bytes, *facts: Any) -> str:
    """Return the name of a training, from its initial network and everything that affects it."""
    parts = (f.tobytes() if isinstance(f, np.ndarray) else _facts(f) for f in facts)
    return _digest("training", _facts(_TRAINING), network, *parts)[:16].hex()
