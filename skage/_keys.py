"""Every key under which something is kept, and the versions of what they stand for.

A key is a digest of all that decides the value. Whoever changes how a value is made
raises the version, so that values of the old kind are no longer found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

_READING = 3  # of images, and their resizing
_JITTER = 1  # of copies
_CROPPING = 2  # finding faces, and cutting them out
_PROJECTION = 1  # compression of activations
_TRAINING = 1  # the state of an interrupted training


def _digest(kind: str, *parts: bytes | memoryview) -> bytes:
    hasher = hashlib.blake2b(digest_size=20, person=kind.encode()[:16])
    for part in parts:
        hasher.update(part)
    return hasher.digest()


def _facts(*facts: Any) -> bytes:
    return repr(facts).encode()


def file_key(content: bytes) -> bytes:
    """An image file, by its content."""
    return _digest("file", content)


def pixels_key(size: tuple[int, int], pixels: bytes) -> bytes:
    """An RGB image, by its pixels."""
    return _digest("pixels", _facts(size), pixels)


def derived_key(source: bytes, recipe: bytes) -> bytes:
    """An image made from another, by the other's key and the recipe."""
    return _digest("derived", source, recipe)


def jitter_recipe(settings: Any) -> bytes:
    """How a jittered copy is made."""
    return _facts(_JITTER, settings)


def detector_version(name: str, opencv: str, checksum: str) -> str:
    """A detector of ours, by all that its boxes depend on."""
    return f"{_CROPPING} {name} {opencv} {checksum}"


def crop_recipe(*facts: Any) -> bytes:
    """How a face is cut out."""
    return _facts(*facts)


def faces_key(image: bytes, version: str, angles: tuple[float, ...]) -> bytes:
    """The faces found in an image."""
    return _digest("faces", image, _facts(version, angles))


def network_key(layers: str, tensors: Iterable[tuple[str, np.ndarray]]) -> bytes:
    """A network, by its layers and weights."""
    parts: list[Any] = [layers.encode()]
    for name, array in tensors:
        parts += [_facts(name, array.shape), np.ascontiguousarray(array).data.cast("B")]
    return _digest("network", *parts)


def frozen_key(network: bytes, image_size: int, *arithmetic: Any) -> bytes:
    """Frozen layers and how images are fed to them."""
    return _digest("frozen", network, _facts(_READING, image_size, *arithmetic))


def activations_key(image: bytes, frozen: bytes) -> bytes:
    """What the frozen layers make of an image."""
    return _digest("activations", image, frozen)


def projection_key(activations: list[bytes], is_training: np.ndarray, n_components: int) -> bytes:
    """A compression of activations, by the images that it is learned from."""
    mask = np.packbits(is_training).tobytes()
    return _digest("projection", _facts(_PROJECTION, n_components), *activations, mask)


def training_name(network: bytes, *facts: Any) -> str:
    """A training, by where it begins and all that decides how it goes on."""
    parts = (f.tobytes() if isinstance(f, np.ndarray) else _facts(f) for f in facts)
    return _digest("training", _facts(_TRAINING), network, *parts)[:16].hex()
