"""Augmentation: jittered copies, mirror images and centre crops, made when they are read."""

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
    """Make randomly rotated, shifted, scaled and mirrored copies of images (DEX).

    The random numbers depend only on the image's content and on the number of the copy.
    The copies are therefore the same in every fit, fold and candidate of a search, and
    an estimator's `feature_cache` can reuse their activations. Beyond its border, the
    image's outermost pixels are repeated.

    Parameters
    ----------
    n_copies : int, default=10
        Number of copies of each image.

    rotation : float, default=10.0
        Largest rotation in degrees, in either direction.

    shift : float, default=0.1
        Largest shift along each side, as a fraction of that side, in either direction.

    scale : float, default=0.1
        Largest change of scale, as a fraction; 0.1 scales by 0.9 to 1.1.

    mirror : bool, default=True
        Whether to mirror copies with probability 0.5.

    See Also
    --------
    VGG16Classifier : Accepts it as `augment` and `test_augment`.

    Notes
    -----
    The default ranges and number of copies are those commonly quoted from DEX (IJCV
    2016), which makes the copies after splitting the images. DEX does not mirror.
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
        """Return copies of images; each is made when it is read.

        Parameters
        ----------
        images : sequence of n_samples images
        size : int
            Side of the copies in pixels.
        crop : float, default=1.0
            Fraction of each side that a copy shows, at a random place in the image.

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
    """A jittered copy of an image, made when it is read."""

    def __init__(self, source: Any, settings: _Settings):
        self.source, self.settings = source, settings

    @property
    def recipe(self) -> bytes:
        return jitter_recipe(self.settings)

    def derive(self, digest: bytes, decode: Callable[..., Image.Image], name: str) -> Image.Image:
        s = self.settings
        rng = np.random.default_rng([s.copy, int.from_bytes(digest, "big")])
        image = decode(round(s.size / s.crop))
        angle = rng.uniform(-s.rotation, s.rotation)
        shift = rng.uniform(-s.shift, s.shift, 2)
        extent = s.crop * np.array(image.size) / rng.uniform(1 - s.scale, 1 + s.scale)
        is_mirrored = rng.uniform() < s.mirror
        centre = np.array(image.size) * (0.5 + shift)
        copy = cut_out(image, centre, extent, angle, s.size)
        return copy.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if is_mirrored else copy


def views(
    images: Any, size: int, crop: float, test_augment: Jitter | str | None
) -> list[Sequence[Any]]:
    """Return the views of images to average predictions over, the plain one first.

    Parameters
    ----------
    images : sequence of n_samples images
    size : int
        Side of the views in pixels.
    crop : float
        Fraction of each side that they show.
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
