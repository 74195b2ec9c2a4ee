"""The nodes of a calibration, and how the file holds it for `skage.load`.

They compute in float64: a position in the far tail of a distribution has few digits in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..._calibration.conformal import _IMPOSSIBLE, _ROUNDING, KNOTS
from ...binning import AgeBinner
from ...calibration import CalibratedAgeRegressor
from .. import calibrated
from .decode import add_quantiles
from .graph import Graph


def add_calibrated(graph: Graph, model: CalibratedAgeRegressor, distribution: str) -> str:
    """Add what `Curves.apply` does."""
    curves, binner = model.calibration_.curves, model.binner_
    p = _add_normalised(graph, distribution)
    below = graph.add("Unsqueeze", graph.add("CumSum", p, 1), [2])  # (n, n_bins, 1)
    # A curve is a sum of rising pieces; their slopes are those of the image's band.
    widths = np.diff(KNOTS)
    slopes = np.diff(curves.values, axis=1) / widths
    pieces = graph.add("Max", graph.add("Sub", below, KNOTS[:-1]), 0.0)
    pieces = graph.add("Min", pieces, widths)
    codes = _add_band_codes(graph, binner, p, curves.edges)
    products = graph.add("Mul", pieces, graph.add("Gather", slopes, codes))
    reached = graph.add("ReduceSum", products, [2], keepdims=0)  # (n, n_bins)
    # The differences of the cumulative probabilities, as a product with a matrix.
    k = binner.n_bins_
    return graph.add("MatMul", reached, np.eye(k) - np.eye(k, k=1))


def add_calibrated_interval(
    graph: Graph, model: CalibratedAgeRegressor, distribution: str, age: str, coverage: float
) -> str:
    """Add intervals (n, 2) as `CalibratedAgeRegressor.decode_interval` computes them."""
    calibration, binner = model.calibration_, model.binner_
    limits = np.array(calibration.limits(coverage, model.tails == "joint"))
    p = _add_normalised(graph, distribution)
    if calibration.by in ("true", "group"):
        low, high = _add_hull(graph, model, p, limits)
    else:
        codes = _add_band_codes(graph, binner, p, calibration.edges)
        low, high = _add_between(graph, model, p, limits, codes)
    if binner.age_range_[0] >= 0:
        low, high = (graph.add("Max", bound, 0.0) for bound in (low, high))
    return graph.add("Concat", graph.add("Min", low, age), graph.add("Max", high, age), axis=1)


def _add_normalised(graph: Graph, distribution: str) -> str:
    total = graph.add("ReduceSum", distribution, [1], keepdims=1)
    return graph.add("Div", distribution, total)


def _add_band_codes(graph: Graph, binner: AgeBinner, p: str, edges: np.ndarray) -> str:
    """The band of each predicted mean, (n, 1)."""
    mean = graph.add("ReduceSum", graph.add("Mul", p, binner.bin_values_), [1], keepdims=1)
    # The last edge, which no age reaches, is there because there may be no other.
    is_below = graph.add("Less", mean, np.append(edges, np.inf))
    n_above = graph.add("ReduceSum", graph.cast(is_below, np.int64), [1], keepdims=1)
    return graph.add("Sub", len(edges) + 1, n_above)


def _add_between(
    graph: Graph, model: CalibratedAgeRegressor, p: str, limits: np.ndarray, codes: Any
) -> list[str]:
    """Lowest and highest ages (n, 1) between the limits of each image's band."""
    levels = limits.clip(_IMPOSSIBLE, 1 - _IMPOSSIBLE)
    beyond = np.minimum(limits, 0) + np.maximum(limits - 1, 0)  # in years
    step, found = model.calibration_.step, []
    for end, (kind, half) in enumerate((("Ceil", -0.5 - _ROUNDING), ("Floor", 0.5 + _ROUNDING))):
        level = graph.add("Gather", levels[:, end], codes)
        [age] = add_quantiles(graph, model.binner_, p, [level], clip=False)
        age = graph.add("Add", age, graph.add("Gather", beyond[:, end], codes))
        if step:
            steps = graph.add("Add", graph.add("Div", age, step), half)
            age = graph.add("Mul", graph.add(kind, steps), step)
        found.append(age)
    return found


def _add_hull(
    graph: Graph, model: CalibratedAgeRegressor, p: str, limits: np.ndarray
) -> tuple[str, str]:
    """The shortest intervals around those of all bands, each within its true ages."""
    calibration = model.calibration_
    bounds = np.concatenate([[-np.inf], calibration.edges, [np.inf]])
    lows, highs = [], []
    for code in range(len(limits)):
        low, high = _add_between(graph, model, p, limits, [[code]])
        if calibration.by == "true":
            first, end = bounds[code], bounds[code + 1]
            if calibration.step:
                end = calibration.step * (np.ceil(end / calibration.step) - 1)
            low, high = graph.add("Max", low, first), graph.add("Min", high, end)
        is_empty = graph.add("Less", high, low)
        lows.append(graph.add("Where", is_empty, np.inf, low))
        highs.append(graph.add("Where", is_empty, -np.inf, high))
    return graph.add("Min", *lows), graph.add("Max", *highs)


def as_json(model: CalibratedAgeRegressor) -> dict[str, Any]:
    """Return the calibration as values that JSON can represent."""
    header, tensors = calibrated.describe(model)
    arrays = {name: (str(t.numpy().dtype), t.tolist()) for name, t in tensors.items()}
    return {"header": header, "arrays": arrays}


def from_json(facts: dict[str, Any], fitted: Any) -> CalibratedAgeRegressor:
    """Return the calibrated model around the model whose calibration it is.

    Raises
    ------
    LookupError, TypeError, ValueError
        If no calibration has these values.
    """
    tensors = {}
    for name, (dtype, values) in facts["arrays"].items():
        if dtype not in ("float64", "int64"):
            raise ValueError("the numbers of its calibration have another precision")
        tensors[name] = torch.from_numpy(np.array(values, dtype=dtype))
    return calibrated.rebuild(facts["header"], tensors, fitted)
