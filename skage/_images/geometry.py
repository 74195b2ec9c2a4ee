"""Cut rotated rectangles out of images."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image


def cut_out(
    image: Image.Image, centre: np.ndarray, extent: np.ndarray, angle: float, size: int
) -> Image.Image:
    """Cut a rectangle out of an image and resize it to a square.

    Beyond the border of the image, its outermost pixels are repeated.

    Parameters
    ----------
    image : RGB image
    centre, extent : ndarray (2,)
        Centre of the rectangle, and its width and height, in pixels.
    angle : float
        Degrees by which the image is first rotated counter-clockwise about the centre.
    size : int
        Side of the result in pixels.
    """
    shrink = int(extent.max() // (4 * size))
    if shrink > 1:  # the image has far more pixels than the result
        image = image.reduce(shrink)
        centre, extent = centre / shrink, extent / shrink
    if angle:
        radius = math.ceil(math.hypot(*extent) / 2) + 1
        corner = np.round(centre).astype(int) - radius
        image = _cut(image, corner, np.array([2 * radius, 2 * radius]))
        centre = centre - corner
        image = image.rotate(angle, Image.Resampling.BILINEAR, center=tuple(centre))
    corner = np.round(centre - extent / 2).astype(int)
    far = np.round(centre + extent / 2).astype(int)
    return _cut(image, corner, np.maximum(far - corner, 1)).resize(
        (size, size), Image.Resampling.BILINEAR
    )


def _cut(image: Image.Image, corner: np.ndarray, extent: np.ndarray) -> Image.Image:
    """Cut out a rectangle, repeating the outermost pixels beyond the border of the image."""
    x, y = (
        np.clip(np.arange(start, start + count), 0, limit - 1)
        for start, count, limit in zip(corner, extent, image.size, strict=True)
    )
    inside = np.asarray(image.crop((x[0], y[0], x[-1] + 1, y[-1] + 1)))
    return Image.fromarray(inside[y - y[0]][:, x - x[0]])
