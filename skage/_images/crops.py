"""Faces cut out of photographs when they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from .._keys import crop_recipe
from .detectors import Finder
from .geometry import cut_out
from .reading import DerivedImage, ImageError

#: The rotations of DEX: every 5 degrees up to 60 either way, a quarter turn either way,
#: and upside down.
DEX_ANGLES = (0, *(sign * angle for angle in (*range(5, 61, 5), 90) for sign in (1, -1)), 180)


class NoFaceError(ImageError):
    """No face is found in an image; the message names it and its position."""

    what = "show no face"


@dataclass(frozen=True)
class CropSettings:
    """The settings that a crop depends on beside its face."""

    margin: float
    keep_aspect: bool
    size: int
    select: str
    on_no_face: str


class FaceCrop(DerivedImage):
    """A face cut out of an image when it is needed; ``numpy.asarray`` gives its pixels.

    Parameters
    ----------
    source : image
        A path, PIL image or array.
    finder : callable
    how : settings of the crop
    position : int
        Where the source stood among others, for messages.
    """

    def __init__(self, source: Any, finder: Finder, how: CropSettings, position: int):
        self.source, self._finder, self._how, self.position = source, finder, how, position

    @property
    def recipe(self) -> bytes | None:
        if not self._finder.version:
            return None
        return crop_recipe(self._finder.version, self._finder.angles, self._how)

    @property
    def preparation(self) -> str:
        """How it was cut out, apart from its size; the same for crops that are alike."""
        detector, how = self._finder.detector, self._how
        if not isinstance(detector, str):
            detector = getattr(detector, "__name__", type(detector).__name__)
        shape = "kept in proportion" if how.keep_aspect else "squeezed to a square"
        told = [f"found by {detector}", f"cut out with a margin of {how.margin:g}", shape]
        if self._finder.angles != (0.0,):
            is_dex = self._finder.angles == tuple(map(float, DEX_ANGLES))
            angles = "the angles of DEX" if is_dex else f"angles of {self._finder.angles}"
            told.append(f"turned upright by {angles}")
        return f"the {how.select} face of each photograph, {', '.join(told)}"

    def derive(self, digest: bytes, decode: Callable[..., Image.Image], name: str) -> Image.Image:
        faces, image = self._finder(digest, decode, name)
        size = self._how.size
        if len(faces):
            sizes = faces[:, 2] * faces[:, 3]
            index = 0 if self._how.select == "strongest" else int(sizes.argmax())
            box, angle = faces[index, :4], faces[index, 5]
            extent = np.full(2, box[2:].max()) if self._how.keep_aspect else box[2:]
            extent = extent * (1 + 2 * self._how.margin)
            return cut_out(image or decode(), box[:2] + box[2:] / 2, extent, angle, size)
        if self._how.on_no_face == "whole":
            return decode(size).resize((size, size), Image.Resampling.BILINEAR)
        skip = self._how.on_no_face == "nan"
        way_out = "" if skip else " Pass on_no_face='whole' to FaceCropper to take the whole image."
        error = NoFaceError(f"No face is found in {name}.{way_out}")
        error.skip = skip
        raise error

    def check(
        self, digest: bytes, decode: Callable[..., Image.Image], name: str, size: int
    ) -> None:
        if self._how.on_no_face == "raise":  # what is found is remembered
            self.derive(digest, decode, name)
        else:
            decode(size)
