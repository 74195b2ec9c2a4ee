"""Where in an image a predicted age comes from, by covering parts of it."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from PIL import Image

from .._images.reading import describe, digest_and_decoder

_SIDE = 224  # pixels, of the longer side of the image that is occluded


def occlusion(
    model: Any, image: Any, patch: float, n_steps: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the pixels, by how many years the age falls if each is covered, and the age.

    A patch of the image's mean colour is moved over the image (Zeiler and Fergus, ECCV
    2014, section 4.2). The heat of a pixel is the mean over the patches that cover it.
    """
    decoded = digest_and_decoder(image, 0)[1](_SIDE)
    decoded.thumbnail((_SIDE, _SIDE))
    pixels = np.asarray(decoded)
    parts = _parts(pixels.shape[:2], patch, n_steps)
    covered = np.repeat(pixels[None], len(parts) + 1, axis=0)
    for rows_and_columns, copy in zip(parts, covered[1:], strict=True):
        copy[rows_and_columns] = pixels.mean(axis=(0, 1)).round()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "These images are not cropped", UserWarning)  # they are
        ages = np.asarray(model.predict(covered), dtype=float)
    if np.isnan(ages).any():
        raise ValueError(f"{describe(image, 0)} has no prediction. Pass another image.")
    falls, times = np.zeros(pixels.shape[:2]), np.zeros(pixels.shape[:2])
    for rows_and_columns, age in zip(parts, ages[1:], strict=True):
        falls[rows_and_columns] += ages[0] - age
        times[rows_and_columns] += 1
    heat = Image.fromarray((falls / times).astype(np.float32))
    cells = heat.resize((n_steps, n_steps), Image.Resampling.BOX)
    return pixels, np.asarray(cells), float(ages[0])


def _parts(shape: tuple[int, int], patch: float, n_steps: int) -> list[tuple[slice, slice]]:
    """Return the rows and columns of rectangles that together cover an image."""
    height, width = (math.ceil(patch * n) for n in shape)
    down = np.linspace(0, shape[0] - height, n_steps).round().astype(int)
    across = np.linspace(0, shape[1] - width, n_steps).round().astype(int)
    return [(slice(y, y + height), slice(x, x + width)) for y in down for x in across]
