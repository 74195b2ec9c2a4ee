"""Small pictures of images, or of the reasons why they cannot be read."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._images.reading import (
    ImageError,
    check_images,
    describe,
    digest_and_decoder,
    map_ahead,
    resize,
)
from ._axes import new_axes

_N_COLUMNS = 6  # of faces in a figure
_FACE_SIDE = 160  # pixels
_MAX_LINES, _MAX_CHARACTERS = 7, 27  # of an error message shown in place of a face
_TILE_GREY = 232  # its background

#: The pixels of a face, or why it cannot be read.
Tile = np.ndarray | str


def tiles(images: Any) -> list[Tile]:
    """Return the tiles of images, each of which is decoded once."""
    images = check_images(images)
    return list(map_ahead(lambda i: _tile(images[i], i), range(len(images))))


def draw(axes: Any, faces: Sequence[Tile], titles: Sequence[str]) -> None:
    """Draw one tile on each of the axes; further axes stay empty."""
    for ax in axes:
        ax.set_axis_off()
    size = 9 if max(map(len, titles)) < 20 else 7.5
    for ax, face, title in zip(axes, faces, titles, strict=False):
        if isinstance(face, str):
            ax.imshow(np.full((1, 1, 3), _TILE_GREY, np.uint8), extent=(0, 1, 0, 1))
            ax.text(0.5, 0.5, face, fontsize=6.5, ha="center", va="center", color="#444444")
        else:
            ax.imshow(face)
        ax.set_title(title, fontsize=size, pad=3)


def age_title(predicted: float, true: float) -> str:
    """Return the title of a face with its ages in years."""
    title = "no prediction" if np.isnan(predicted) else f"{predicted:.0f}"
    return title if np.isnan(true) else f"{title}   (true {true:.0f})"


def face_axes(n_faces: int) -> Any:
    """Return new axes for faces in rows, as a flat array."""
    columns = min(_N_COLUMNS, n_faces)
    rows = -(-n_faces // columns)
    return new_axes(rows, columns, (1.6 * columns, 1.95 * rows))


def checked(X: Any, max_faces: int, **ages: Any) -> tuple[Any, list[Any]]:
    """Return the images, and their ages as arrays, after checking that they fit together."""
    images = check_images(X)
    if max_faces < 1:
        raise ValueError(f"max_faces={max_faces!r} is not valid. Pass at least 1.")
    arrays: list[Any] = []
    for name, values in ages.items():
        array = None if values is None else np.asarray(values, dtype=np.float64).ravel()
        if array is not None and len(array) != len(images):
            raise ValueError(
                f"{name} has {len(array)} ages, but X has {len(images)} images. Pass one age for "
                "each image."
            )
        arrays.append(array)
    return images, arrays


def _tile(image: Any, position: int) -> Tile:
    try:
        return resize(digest_and_decoder(image, position)[1](_FACE_SIDE), _FACE_SIDE)
    except ImageError as error:
        source = image
        while hasattr(source, "source"):
            source = source.source
        is_path = isinstance(source, str | os.PathLike)
        name = os.path.basename(os.fspath(source)) if is_path else "the image"
        text = error.message.replace(describe(source, position), name)
        return "\n".join(
            textwrap.wrap(text, _MAX_CHARACTERS, max_lines=_MAX_LINES, placeholder=" ...")
        )
