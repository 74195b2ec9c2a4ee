"""How much a predicted age changes with changes of the image that do not change the age."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from .._images.reading import ImageError, check_images, digest_and_decoder
from .._unwrap import unreadable_images_skipped

_SHIFT = 0.03  # of the side
_QUALITIES = (90, 60)  # of JPEG
_CHUNK = 32


def _saved_again(quality: int) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return change


def _shifted(x: float, y: float) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        columns, rows = round(x * image.width), round(y * image.height)
        pixels = np.pad(
            np.asarray(image),
            [(max(rows, 0), max(-rows, 0)), (max(columns, 0), max(-columns, 0)), (0, 0)],
            mode="edge",
        )
        top, left = max(-rows, 0), max(-columns, 0)
        return Image.fromarray(pixels[top : top + image.height, left : left + image.width])

    return change


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    **{f"saved as JPEG, quality {quality}": _saved_again(quality) for quality in _QUALITIES},
    "mirrored": ImageOps.mirror,
    f"shifted right by {_SHIFT:.0%}": _shifted(_SHIFT, 0),
    f"shifted left by {_SHIFT:.0%}": _shifted(-_SHIFT, 0),
    f"shifted down by {_SHIFT:.0%}": _shifted(0, _SHIFT),
    f"shifted up by {_SHIFT:.0%}": _shifted(0, -_SHIFT),
}


def variability_table(
    model: Any, X: Any, n_images: int, random_state: np.random.Generator
) -> pd.DataFrame:
    """Predict changed images, and compare with the predictions of the images as they are.

    Parameters
    ----------
    model : estimator
        Fitted.
    X : sequence of images
    n_images : int
        How many of them to take, at random.
    random_state : Generator

    Returns
    -------
    table : DataFrame
        For each change, and for all together: n (images), mean_change and
        mean_absolute_change in years, std (in the last row: mean standard deviation over
        the versions of an image, as NIST's variability), n_lost (images that have a
        prediction only before the change).
    """
    images = check_images(X)
    chosen = np.sort(random_state.permutation(len(images))[:n_images])
    readable = []
    for position in chosen.tolist():
        try:
            readable.append(digest_and_decoder(images[position], position)[1]())
        except ImageError:
            continue
    if not readable:
        raise ValueError(f"None of the {len(chosen)} images for the variability can be read.")
    ages = {"": _predict(model, readable, lambda image: image)}
    ages |= {name: _predict(model, readable, change) for name, change in CHANGES.items()}
    known = ~np.isnan(ages[""])
    rows = []
    for name in CHANGES:
        both = known & ~np.isnan(ages[name])
        difference = (ages[name] - ages[""])[both]
        rows.append(_row(name, difference, int((known & ~both).sum())))
    versions = np.column_stack(list(ages.values()))
    complete = ~np.isnan(versions).any(axis=1)
    spread = versions[complete].std(axis=1, ddof=1)
    rows.append(
        {
            "change": "all versions of an image",
            "n": int(complete.sum()),
            "mean_change": np.nan,
            "mean_absolute_change": np.nan,
            "std": float(spread.mean()) if len(spread) else np.nan,
            "n_lost": int((known & ~complete).sum()),
        }
    )
    return pd.DataFrame(rows)


def _predict(
    model: Any, images: list[Image.Image], change: Callable[[Image.Image], Image.Image]
) -> np.ndarray:
    found = []
    with unreadable_images_skipped(model):
        for start in range(0, len(images), _CHUNK):
            changed = [change(image) for image in images[start : start + _CHUNK]]
            found.append(np.asarray(model.predict(changed), dtype=float))
    return np.concatenate(found)


def _row(name: str, difference: np.ndarray, n_lost: int) -> dict[str, Any]:
    n = len(difference)
    return {
        "change": name,
        "n": n,
        "mean_change": float(difference.mean()) if n else np.nan,
        "mean_absolute_change": float(np.abs(difference).mean()) if n else np.nan,
        "std": float(difference.std()) if n else np.nan,
        "n_lost": n_lost,
    }
