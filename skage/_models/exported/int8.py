"""Quantise an exported model to 8-bit integers, and measure what it costs."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..._images.reading import ImageError, check_images, map_ahead, raise_all
from .graph import import_onnx
from .header import Header, Quantisation
from .predict import OnnxModel, read_views

_LEAST = 16  # calibration images
_KINDS = ["Add", "AveragePool", "Conv", "Gemm", "GlobalAveragePool", "MatMul", "MaxPool", "Relu"]


def quantise(
    proto: Any, header: Header, X: Any, ages: np.ndarray | None
) -> tuple[Any, Quantisation]:
    """Return a model whose convolutions and dense layers multiply 8-bit integers.

    Weights have a scale for each output channel, and activations a range for each layer,
    from the least to the largest value on the calibration images.

    Parameters
    ----------
    proto : onnx.ModelProto
    header : Header
    X : sequence of n images
        For calibration, at least 16.
    ages : ndarray of shape (n,) or None
        In years.

    Returns
    -------
    proto : onnx.ModelProto
    found : Quantisation

    Raises
    ------
    ImportError
        If onnxruntime is not installed.
    ImageError
        If images cannot be read.
    ValueError
        If there are too few images, or their number is not that of the ages.
    """
    images = check_images(X)
    if len(images) < _LEAST:
        raise ValueError(
            f"int8_images has {len(images)} images, and the ranges of activations need at least "
            f"{_LEAST}. Pass more, of the kind that will be predicted."
        )
    if ages is not None and len(ages) != len(images):
        raise ValueError(
            f"int8_images has {len(images)} images and int8_ages {len(ages)} ages. Pass one age "
            "for each image."
        )
    feeds = _read(images, header)
    quantised = _quantised(proto, feeds)
    before, after = (
        OnnxModel(p.SerializeToString(deterministic=True)).run(feeds)[1] for p in (proto, quantised)
    )
    change = np.abs(after - before)
    errors: list[float | None] = [None, None]
    if ages is not None:
        errors = [float(np.abs(found - ages).mean()) for found in (after, before)]
    return quantised, Quantisation(
        len(feeds), float(change.mean()), float(change.max()), errors[0], errors[1]
    )


def _read(images: Any, header: Header) -> list[dict[str, np.ndarray]]:
    def read(position: int) -> dict[str, np.ndarray] | ImageError:
        try:
            return read_views(images[position], position, header.views)
        except ImageError as error:
            error.position = position
            return error

    found = list(map_ahead(read, range(len(images))))
    raise_all([item for item in found if isinstance(item, ImageError)])
    return [item for item in found if not isinstance(item, ImageError)]


def _quantised(proto: Any, feeds: list[dict[str, np.ndarray]]) -> Any:
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise ImportError("int8 needs onnxruntime: pip install 'skage[export]'.") from error

    batches = iter([{name: x[None] for name, x in feed.items()} for feed in feeds])

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> Any:
            return next(batches, None)

    exact = [node.name for node in proto.graph.node if node.name.startswith("decode")]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(proto.SerializeToString(deterministic=True))
        quantization.quantize_static(
            source,
            target,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_KINDS,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=exact,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        return import_onnx().load_model(target)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without onnxruntime's advice to prepare the model, which has no effect on this one."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
