"""The part of a model file that holds a calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator

from .._calibration.conformal import KNOTS
from .._calibration.learned import Calibration, Curves
from ..calibration import CalibratedAgeRegressor
from .header import plain

# A loaded model is frozen: it is not split again.
_NOT_STORED = ("estimator", "cv", "random_state")
_ARRAYS = ("edges", "codes", "low", "high", "predicted", "spread")


def describe(model: CalibratedAgeRegressor) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and tensors of a calibration, without those of the calibrated model."""
    model._validate_params()
    parameters = model.get_params(deep=False).items()
    calibration = model.calibration_
    header = {
        "kind": "CalibratedAgeRegressor",
        "parameters": {k: plain(v) for k, v in parameters if k not in _NOT_STORED},
        "by": calibration.by,
        "step": calibration.step,
        "labels": calibration.labels,
        "n_skipped": model.n_skipped_,
    }
    arrays = {name: getattr(calibration, name) for name in _ARRAYS} | {
        "curves.edges": calibration.curves.edges,
        "curves.values": calibration.curves.values,
    }
    return header, {f"calibration.{k}": torch.from_numpy(v.copy()) for k, v in arrays.items()}


def rebuild(
    header: dict[str, Any], tensors: dict[str, torch.Tensor], fitted: Any
) -> CalibratedAgeRegressor:
    """Return the calibrated model of a file, around the model in it."""
    start = "calibration."
    arrays = {k.removeprefix(start): v.numpy() for k, v in tensors.items() if k.startswith(start)}
    curves = Curves(arrays["curves.edges"], arrays["curves.values"])
    calibration = Calibration(
        header["by"],
        header["step"],
        curves,
        labels=header["labels"],
        **{name: arrays[name] for name in _ARRAYS},
    )
    model = CalibratedAgeRegressor(FrozenEstimator(fitted), **header["parameters"])
    model._validate_params()
    _check(calibration)
    if type(header["n_skipped"]) is not int or header["n_skipped"] < 0:
        raise ValueError(f"n_skipped={header['n_skipped']!r} is not a number of images")
    model._set_fitted(fitted, calibration, header["n_skipped"])
    return model


def _check(found: Calibration) -> None:
    """Refuse a calibration that no images can give."""
    if found.by not in ("predicted", "true", "group", None) or found.step not in (0, 1):
        raise ValueError(f"by={found.by!r} or step={found.step!r} of its calibration is not valid")
    if (found.by == "group") != bool(found.labels) or not isinstance(found.labels, list):
        raise ValueError("the groups of its calibration do not match its bands")
    if len(set(found.labels)) != len(found.labels):
        raise ValueError("a group of its calibration is there twice")
    curves, edges, n = found.curves, found.edges, len(found.codes)
    if any(part.dtype != np.float64 for part in (edges, curves.edges, curves.values)):
        raise ValueError("the numbers of its calibration have another precision")
    for part in (edges, curves.edges):
        if part.ndim != 1 or not np.isfinite(part).all() or (np.diff(part) <= 0).any():
            raise ValueError("the bands of its calibration are not in ascending order")
    if len(edges) and found.by not in ("predicted", "true"):
        raise ValueError("its calibration has bands of age for intervals without them")
    if curves.values.shape != (len(curves.edges) + 1, len(KNOTS)):
        raise ValueError("the numbers of its recalibration curves do not match")
    is_rising = (np.diff(curves.values, axis=1) >= 0).all()
    if not is_rising or not (curves.values[:, [0, -1]] == (0, 1)).all():
        raise ValueError("its recalibration curves do not rise from 0 to 1")
    images = (found.low, found.high, found.predicted, found.spread)
    if n == 0 or any(part.shape != (n,) or part.dtype != np.float64 for part in images):
        raise ValueError("the numbers of its calibration images do not match")
    if not all(np.isfinite(part).all() for part in images) or (found.low > found.high).any():
        raise ValueError("the positions of its calibration images are not valid")
    codes = found.codes
    if codes.dtype != np.int64 or codes.min() < 0 or codes.max() >= found.n_bands:
        raise ValueError("its calibration images are in bands that do not exist")
