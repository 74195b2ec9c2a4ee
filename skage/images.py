"""Images as estimators accept them, and whether they can be read."""

from __future__ import annotations

from ._images.reading import (
    DerivedImage,
    ImageError,
    check_images,
    has_image_suffix,
    readable,
)

__all__ = ["DerivedImage", "ImageError", "check_images", "has_image_suffix", "readable"]
