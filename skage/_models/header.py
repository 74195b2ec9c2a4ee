"""What the header of a model file may hold."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

_MAX_SIDE = 4096  # pixels


def check_header(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Refuse values that a model cannot have, before anything of their size is made."""
    edges, values, support = (
        np.array(header[f"bin_{name}"], dtype=np.float64) for name in ("edges", "values", "support")
    )
    n_bins = len(values)
    shapes = edges.shape == (n_bins + 1,) and values.shape == (n_bins,)
    if not shapes or support.shape != (n_bins, 2) or len(header["age_range"]) != 2:
        raise ValueError("the numbers of its bins, edges and values do not match")
    if not all(np.isfinite(part).all() for part in (edges, values, support)):
        raise ValueError("its bins are not finite")
    if not (np.diff(edges) > 0).all() or not (np.diff(values) > 0).all():
        raise ValueError("its bins are not in ascending order")
    classes = header["classes"]
    if not classes or sorted(set(classes)) != classes or not set(classes) <= set(range(n_bins)):
        raise ValueError("its classes are not among its bins")
    if not all(type(s) is int and 0 < s <= _MAX_SIDE for s in header["image_size"]):
        raise ValueError(f"image_size={header['image_size']!r} is not a size")
    if not isinstance(header["preparation"], str | None) or header["n_networks"] < 1:
        raise ValueError("preparation or n_networks is not valid")
    if not isinstance(header["history"], list):
        raise ValueError("history is not a list")
    lengths = {len(t) for name, t in tensors.items() if name.endswith("bias")}
    wide = set(header["classifier"]["hidden_layer_sizes"] or ()) - lengths
    if wide:
        raise ValueError(f"hidden_layer_sizes has {min(wide)}, but no layer has")
    if tensors["digests"].ndim != 2 or tensors["digests"].dtype != torch.uint8:
        raise ValueError("the digests of its training images are not bytes")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"the weights {name} are not finite")


def plain(value: Any) -> Any:
    """Return the value as a type that JSON can represent."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(
        f"{value!r} cannot be stored in a model file. Pass a number, string, list or dict as the "
        "parameter, or use joblib.dump."
    )
