"""What an exported model says of itself, in the metadata of its ONNX file."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..._distribution import DECODINGS
from ...binning import AgeBinner, tails
from .checksum import BLANK

#: The key of the metadata.
KEY = "skage"
_FORMAT = "skage ONNX model, format 1"
_MAX_SIDE = 4096  # pixels
_PRODUCER = b"\x12\x05skage"  # the second field of a model
_N_FIRST = 16  # bytes, within which it is


@dataclass(frozen=True)
class View:
    """An input of the graph, and how an image is fed to it.

    Parameters
    ----------
    input : str
        Its name.
    image_size : int
        Side in pixels of what it takes.
    resized : int
        Side in pixels that an image is resized to, of which it takes the centre.
    """

    input: str
    image_size: int
    resized: int


@dataclass(frozen=True)
class Quantisation:
    """How the ages of a model with 8-bit integers differ from those that it was made of.

    Parameters
    ----------
    n_images : int
        Number of calibration images.
    mean_change, largest_change : float
        Mean and maximum of the absolute change of their predicted ages, in years.
    mae, mae_before : float or None
        Mean absolute error on them in years, now and before; None if their ages are not known.
    """

    n_images: int
    mean_change: float
    largest_change: float
    mae: float | None
    mae_before: float | None


@dataclass
class Header:
    """What an exported model says of itself.

    Parameters
    ----------
    binner : AgeBinner
        Fitted.
    decode : {"mean", "median", "mode"}
    coverage : float
        Of the intervals.
    views : list of View
    preparation : str or None
        How the training images were made from others; see `VGG16Classifier`.
    digests : ndarray of shape (n_images, length), uint8
        Of the training images.
    version : str
        Of the skage that wrote it.
    quantisation : Quantisation or None
        None if it computes in float32.
    calibration : dict or None
        That of a calibrated model, as values that JSON can represent.
    card : dict or None
        As `describe_card` returns it.
    """

    binner: AgeBinner
    decode: str
    coverage: float
    views: list[View]
    preparation: str | None
    digests: np.ndarray
    version: str
    quantisation: Quantisation | None = None
    calibration: dict[str, Any] | None = None
    card: dict[str, Any] | None = None

    def metadata(self) -> dict[str, str]:
        """Return the metadata, with those that ONNX defines for models of images."""
        binner = self.binner
        facts = {
            "format": _FORMAT,
            "version": self.version,
            "decode": self.decode,
            "coverage": self.coverage,
            "age_range": list(binner.age_range_),
            "bin_edges": binner.bin_edges_.tolist(),
            "bin_values": binner.bin_values_.tolist(),
            "bin_support": binner.bin_support_.tolist(),
            "views": [asdict(view) for view in self.views],
            "preparation": self.preparation,
            "quantisation": None if self.quantisation is None else asdict(self.quantisation),
            "calibration": self.calibration,
            "card": self.card,
            "checksum": BLANK,
            "digest_length": self.digests.shape[1],
            "digests": base64.b64encode(self.digests.tobytes()).decode(),
        }
        return {
            KEY: json.dumps(facts),
            "Image.BitmapPixelFormat": "Rgb8",
            "Image.ColorSpaceGamma": "SRGB",
            "Image.NominalPixelRange": "NominalRange_0_255",
        }

    @classmethod
    def read(cls, metadata: dict[str, str]) -> Header:
        """Return what the metadata of a file say.

        Raises
        ------
        LookupError, TypeError, ValueError
            If they are not what `metadata` returns.
        """
        facts = json.loads(metadata[KEY])
        if facts["format"] != _FORMAT:
            raise ValueError(f"its format is {facts['format']!r}, not {_FORMAT!r}")
        views = [View(**view) for view in facts["views"]]
        for view in views:
            sides = view.image_size, view.resized
            if any(type(side) is not int for side in sides) or not 1 <= sides[0] <= sides[1]:
                raise ValueError(f"images of {sides[0]!r} of {sides[1]!r} pixels are not possible")
            if sides[1] > _MAX_SIDE:
                raise ValueError(f"images of {sides[1]} pixels are larger than {_MAX_SIDE}")
        if facts["decode"] not in DECODINGS:
            raise ValueError(f"decode={facts['decode']!r} is not known")
        tails(facts["coverage"])
        known, length = base64.b64decode(facts["digests"]), facts["digest_length"]
        found = facts["quantisation"]
        return cls(
            _binner(facts),
            facts["decode"],
            facts["coverage"],
            views,
            facts["preparation"],
            np.frombuffer(known, np.uint8).reshape(-1 if known else 0, length),
            facts["version"],
            None if found is None else Quantisation(**found),
            facts["calibration"],
            facts["card"],
        )


def is_exported(path: str | os.PathLike) -> bool:
    """Return whether a file begins as those that `export` writes."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return begins_as_exported(file.read(_N_FIRST))


def begins_as_exported(content: bytes) -> bool:
    """Return whether the content of a file begins as that of those that `export` writes."""
    return _PRODUCER in content[:_N_FIRST]


def _binner(facts: dict[str, Any]) -> AgeBinner:
    """The fitted binner of a header."""
    edges, values, support, ages = (
        np.array(facts[name], dtype=np.float64)
        for name in ("bin_edges", "bin_values", "bin_support", "age_range")
    )
    n_bins = len(values)
    if edges.shape != (n_bins + 1,) or support.shape != (n_bins, 2) or ages.shape != (2,):
        raise ValueError("the numbers of edges, values and supports of its bins do not match")
    if not all(np.isfinite(part).all() for part in (edges, values, support, ages)):
        raise ValueError("its bins are not finite")
    low, high = support.T
    ascending = (np.diff(edges) > 0).all() and (np.diff(values) > 0).all()
    if not ascending or (low > values).any() or (values > high).any() or (low >= high).any():
        raise ValueError("its bins are not in ascending order")
    binner = AgeBinner(edges.tolist())
    binner.bin_edges_, binner.bin_values_, binner.bin_support_ = edges, values, support
    binner.age_range_, binner.n_bins_ = (float(ages[0]), float(ages[1])), n_bins
    return binner
