"""Other views of images: jittered copies, mirror images, their middle; known by their source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from PIL import Image
from sklearn.base import BaseEstimator

from ._images.geometry import cut_out
from ._images.reading import DerivedImage
from ._keys import jitter_recipe
from ._sklearn import Interval

__all__ = ["Jitter"]


class Jitter(BaseEstimator):
    """Copies of an image, turned, shifted, scaled and mirrored at random (DEX).

    Which random copies are made depends on the image's content and on the number
    of the copy alone. So they are the same in every fit, fold and candidate of a
    search, and an estimator's `feature_cache` knows them. Beyond the image, its last
    pixels are repeated.

    Parameters
    ----------
    n_copies : int, default=10
        Copies of each image.

    rotation : float, default=10.0
        Most degrees of turning, either way.

    shift : float, default=0.1
        Most shift along each side, as a share of it, either way.

    scale : float, default=0.1
        Most growing or shrinking, as a share, either way.

    mirror : bool, default=True
        Mirror every other copy, on average.

    See Also
    --------
    VGG16Classifier : Takes it as `augment` and `test_augment`.

    Notes
    -----
    The ranges and the number of copies are as commonly quoted from DEX (IJCV 2016),
    which makes them after the images are split; mirroring is an addition.
    """

    _parameter_constraints = {
        "n_copies": [Interval(Integral, 1, None, closed="left")],
        "rotation": [Interval(Real, 0, 180, closed="both")],
        "shift": [Interval(Real, 0, 1, closed="both")],
        "scale": [Interval(Real, 0, 1, closed="left")],
        "mirror": ["boolean"],
    }

    def __init__(self, n_copies=10, *, rotation=10.0, shift=0.1, scale=0.1, mirror=True):
        self.n_copies = n_copies
        self.rotation = rotation
        self.shift = shift
        self.scale = scale
        self.mirror = mirror

    def copies(self, images: Any, size: int, crop: float = 1.0) -> list[list[JitteredImage]]:
        """Copies of images, to be made when they are read.

        Parameters
        ----------
        images : sequence of n_samples images
        size : int
            Side of the copies in pixels.
        crop : float, default=1.0
            Share of each side that a copy shows, somewhere in the image.

        Returns
        -------
        copies : list of n_copies lists of n_samples images
        """
        self._validate_params()
        share = 0.5 if self.mirror else 0.0
        shift = float(self.shift) + (1 - crop) / 2
        ranges = float(self.rotation), shift, float(self.scale), share
        return [
            [JitteredImage(image, _Settings(copy, size, crop, *ranges)) for image in images]
            for copy in range(self.n_copies)
        ]


@dataclass(frozen=True)
class _Settings:
    copy: int
    size: int
    crop: float
    rotation: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    mirror: float = 0.0  # its probability


class JitteredImage(DerivedImage):
    """A jittered copy of an image, made when it is needed."""

    def __init__(self, source: Any, settings: _Settings):
        self.source, self.settings = source, settings

    @property
    def recipe(self) -> bytes:
        return jitter_recipe(self.settings)

    def derive(self, digest: bytes, decode: Callable[..., Image.Image], name: str) -> Image.Image:
        how = self.settings
        rng = np.random.default_rng([how.copy, int.from_bytes(digest, "big")])
        image = decode(round(how.size / how.crop))
        angle = rng.uniform(-how.rotation, how.rotation)
        shift = rng.uniform(-how.shift, how.shift, 2)
        extent = how.crop * np.array(image.size) / rng.uniform(1 - how.scale, 1 + how.scale)
        is_mirrored = rng.uniform() < how.mirror
        centre = np.array(image.size) * (0.5 + shift)
        copy = cut_out(image, centre, extent, angle, how.size)
        return copy.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if is_mirrored else copy


def views(
    images: Any, size: int, crop: float, test_augment: Jitter | str | None
) -> list[Sequence[Any]]:
    """The views of images over which predictions are averaged; the first is the plain one.

    Parameters
    ----------
    images : sequence of n_samples images
    size : int
        Side of the views in pixels.
    crop : float
        Share of each side that they show.
    test_augment : Jitter, "mirror" or None
    """
    plain = images
    if crop < 1:
        plain = [JitteredImage(image, _Settings(0, size, crop)) for image in images]
    if test_augment is None:
        return [plain]
    if isinstance(test_augment, Jitter):
        return [plain, *test_augment.copies(images, size, crop)]
    return [plain, [JitteredImage(image, _Settings(0, size, crop, mirror=1.0)) for image in images]]
