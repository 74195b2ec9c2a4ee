"""Find the faces in the bytes of an image, and estimate their ages."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from .._images.crops import CropSettings, FaceCrop
from .._images.detectors import Finder
from .._images.reading import DerivedImage, decode_content
from .._keys import file_key
from ..faces import FaceCropper
from .schema import BOX

#: At most this many faces of an image are estimated, those with the highest scores.
MAX_FACES = 50


@dataclass(frozen=True)
class _KnownFace:
    """Takes the place of a `Finder`, so that `FaceCrop` cuts out this face and no other."""

    face: np.ndarray  # left, top, width, height, score, angle

    def __call__(self, digest: bytes, decode: Any, name: str) -> tuple[np.ndarray, None]:
        return self.face[None], None


class _CutFace(DerivedImage):
    """A crop that is already cut out, of which models know how.

    Parameters
    ----------
    source : PIL.Image.Image
    preparation : str
        As that of `FaceCrop`.
    """

    recipe = None
    preparation = ""

    def __init__(self, source: Image.Image, preparation: str):
        self.source, self.preparation = source, preparation

    def derive(self, digest: bytes, decode: Callable[..., Image.Image], name: str) -> Image.Image:
        return decode()


class Estimator:
    """Estimates the age of every face in an image.

    Parameters
    ----------
    model : fitted model with `predict_dist`
    size : int
        Side of the crops that the model takes, in pixels.
    cropper : FaceCropper, default=None
        Finds the faces and says how they are cut out. None takes the whole image as one face.
    coverage : float, default=0.9
        Probability between the bounds of the interval.
    limit : float, default=None
        Age in years that a person has to have reached. None decides nothing.

    Raises
    ------
    ImportError
        If the detector needs OpenCV, which is not installed.
    ValueError
        If the model has no intervals of this coverage.
    """

    def __init__(
        self,
        model: Any,
        size: int,
        cropper: FaceCropper | None = None,
        *,
        coverage: float = 0.9,
        limit: float | None = None,
    ):
        self.model, self.coverage, self.limit = model, coverage, limit
        self._finder: Finder | None = None
        if cropper is not None:
            self._finder = cropper._finder()
            self._settings = CropSettings(
                float(cropper.margin), bool(cropper.keep_aspect), size, "strongest", "nan"
            )
        low, high = model.binner_.age_range_
        self._years = np.arange(max(math.floor(low) - 1, 0), math.ceil(high) + 2)
        n_bins = len(model.binner_.bin_values_)
        model.decode_interval(np.full((1, n_bins), 1 / n_bins), coverage)  # fails early

    def __call__(self, data: bytes) -> dict[str, Any]:
        """Estimate ages.

        Parameters
        ----------
        data : bytes
            Content of an image file.

        Returns
        -------
        answer : dict
            As `skage._serve.schema.ANSWER` describes it.

        Raises
        ------
        ImageError
            If the image cannot be read.
        """
        image = decode_content(data, "The image", 0, 0)
        boxes = self._find(data, image)
        crops = [self._cut(image, box) for box in boxes]
        return {
            "width": image.width,
            "height": image.height,
            "coverage": self.coverage,
            "limit": self.limit,
            "faces": self._estimate(boxes, crops) if crops else [],
        }

    def _find(self, data: bytes, image: Image.Image) -> np.ndarray:
        if self._finder is None:
            return np.array([[0, 0, *image.size, np.nan, 0]])
        return self._finder(file_key(data), lambda size=0: image, "the image")[0][:MAX_FACES]

    def _cut(self, image: Image.Image, box: np.ndarray) -> Image.Image | DerivedImage:
        if self._finder is None:
            return image
        crop = FaceCrop(image, self._finder, self._settings, 0)
        found = FaceCrop(image, _KnownFace(box), self._settings, 0)  # type: ignore[arg-type]
        return _CutFace(found.derive(b"", lambda size=0: image, "the image"), crop.preparation)

    def _estimate(self, boxes: np.ndarray, crops: list[Any]) -> list[dict[str, Any]]:
        distribution = self.model.predict_dist(crops)
        ages = self.model.decode_dist(distribution)
        std = self.model.binner_.std(distribution)
        intervals = self.model.decode_interval(distribution, self.coverage)
        by_year = np.diff(self.model.binner_.cdf(distribution, self._years), axis=1)
        return [
            {
                "box": dict(zip(BOX, _rounded(box[:4]), strict=True)),
                "score": None if np.isnan(box[4]) else round(float(box[4]), 4),
                "age": round(float(ages[i]), 2),
                "std": round(float(std[i]), 2),
                "low": round(float(intervals[i, 0]), 2),
                "high": round(float(intervals[i, 1]), 2),
                "decision": decide(float(intervals[i, 0]), float(intervals[i, 1]), self.limit),
                "first_year": int(self._years[0]),
                "probabilities": _rounded(by_year[i], 5),
            }
            for i, box in enumerate(boxes)
        ]


def decide(low: float, high: float, limit: float | None) -> str | None:
    """Return which side of the limit an interval is on: "over", "under" or "unsure".

    Parameters
    ----------
    low, high : float
        Bounds of the interval in years.
    limit : float or None
        None decides nothing.

    Examples
    --------
    >>> from skage._serve.estimator import decide
    >>> [decide(low, high, 18) for low, high in [(18, 25), (8, 12), (16, 21)]]
    ['over', 'under', 'unsure']
    """
    if limit is None:
        return None
    return "over" if low >= limit else "under" if high < limit else "unsure"


def _rounded(numbers: np.ndarray, digits: int = 1) -> list[float]:
    return [round(float(number), digits) for number in numbers]
