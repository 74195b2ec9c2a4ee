"""Face crops of photographs, made when they are read."""

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

#: The rotations of DEX in degrees: every 5 up to 60 in either direction, 90 in either
#: direction, and 180.
DEX_ANGLES = (0, *(sign * angle for angle in (*range(5, 61, 5), 90) for sign in (1, -1)), 180)


class NoFaceError(ImageError):
    """No face was found in an image; the message names it and its position."""

    what = "show no face"


@dataclass(frozen=True)
class CropSettings:
    """The settings that determine a crop, apart from the detected face.

    The ``repr`` is part of cache keys.
    """

    margin: float
    keep_aspect: bool
    size: int
    select: str
    on_no_face: str


class FaceCrop(DerivedImage):
    """A face crop that is made when it is read; ``numpy.asarray`` returns its pixels.

    Parameters
    ----------
    source : image
        A path, PIL image or array.
    finder : Finder
    settings : CropSettings
    position : int
        Index of the source in X, for error messages.
    """

    def __init__(self, source: Any, finder: Finder, settings: CropSettings, position: int):
        self.source, self.position = source, position
        self._finder, self._settings = finder, settings

    @property
    def recipe(self) -> bytes | None:
        if not self._finder.version:
            return None
        return crop_recipe(self._finder.version, self._finder.angles, self._settings)

    @property
    def preparation(self) -> str:
        """A description of how the crop is made, apart from its size; equal for alike crops."""
        detector, settings = self._finder.detector, self._settings
        if not isinstance(detector, str):
            detector = getattr(detector, "__name__", type(detector).__name__)
        shape = "kept in proportion" if settings.keep_aspect else "squeezed to a square"
        steps = [f"found by {detector}", f"cut out with a margin of {settings.margin:g}", shape]
        if self._finder.angles != (0.0,):
            is_dex = self._finder.angles == tuple(map(float, DEX_ANGLES))
            angles = "the angles of DEX" if is_dex else f"angles of {self._finder.angles}"
            steps.append(f"turned upright by {angles}")
        return f"the {settings.select} face of each photograph, {', '.join(steps)}"

    def derive(self, digest: bytes, decode: Callable[..., Image.Image], name: str) -> Image.Image:
        faces, image = self._finder(digest, decode, name)
        size = self._settings.size
        if len(faces):
            sizes = faces[:, 2] * faces[:, 3]
            index = 0 if self._settings.select == "strongest" else int(sizes.argmax())
            box, angle = faces[index, :4], faces[index, 5]
            extent = np.full(2, box[2:].max()) if self._settings.keep_aspect else box[2:]
            extent = extent * (1 + 2 * self._settings.margin)
            return cut_out(image or decode(), box[:2] + box[2:] / 2, extent, angle, size)
        if self._settings.on_no_face == "whole":
            return decode(size).resize((size, size), Image.Resampling.BILINEAR)
        skip = self._settings.on_no_face == "nan"
        advice = "" if skip else " Pass on_no_face='whole' to FaceCropper to use the whole image."
        error = NoFaceError(f"No face was found in {name}.{advice}")
        error.skip = skip
        raise error

    def check(
        self, digest: bytes, decode: Callable[..., Image.Image], name: str, size: int
    ) -> None:
        if self._settings.on_no_face == "raise":  # the detected faces are cached
            self.derive(digest, decode, name)
        else:
            decode(size)
