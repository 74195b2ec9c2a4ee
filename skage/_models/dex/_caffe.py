"""Read Caffe's files, with declarations of the fields that are needed.

The field numbers are those of ``src/caffe/proto/caffe.proto`` in BVLC/caffe.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf import text_format

from ._chain import Layer
from ._proto import array, messages, parse, text

_BLOB = {
    **{name: (i, "int64") for i, name in enumerate(("num", "channels", "height", "width"), 1)},
    "data": (5, "bytes*"),
    "shape": (7, "Shape"),
    "double_data": (8, "bytes*"),
}
_SIDES = {"pad_h": (9, "int64"), "pad_w": (10, "int64")}
_PARAMETERS = ("convolution_param", "inner_product_param", "pooling_param", "relu_param")
_PARAMETER_TYPES = ("Convolution", "InnerProduct", "Pooling", "ReLU")


def _parameters(*numbers: int) -> dict[str, tuple[int, str]]:
    return dict(zip(_PARAMETERS, zip(numbers, _PARAMETER_TYPES, strict=True), strict=True))


_SCHEMA = {
    "Shape": {"dim": (1, "int64*")},
    "Blob": _BLOB,
    "Convolution": {
        "num_output": (1, "int64"),
        "bias_term": (2, "bool"),
        "pad": (3, "int64*"),
        "kernel_size": (4, "int64*"),
        "group": (5, "int64"),
        "stride": (6, "int64*"),
        **_SIDES,
        "kernel_h": (11, "int64"),
        "kernel_w": (12, "int64"),
        "stride_h": (13, "int64"),
        "stride_w": (14, "int64"),
        "dilation": (18, "int64*"),
    },
    "InnerProduct": {
        "num_output": (1, "int64"),
        "bias_term": (2, "bool"),
        "transpose": (6, "bool"),
    },
    "Pooling": {
        "pool": (1, "Pool"),
        "kernel_size": (2, "int64*"),
        "stride": (3, "int64*"),
        "pad": (4, "int64*"),
        "kernel_h": (5, "int64"),
        "kernel_w": (6, "int64"),
        "stride_h": (7, "int64"),
        "stride_w": (8, "int64"),
        **_SIDES,
        "global_pooling": (12, "bool"),
    },
    "ReLU": {"negative_slope": (1, "float")},
    "Input": {"shape": (1, "Shape*")},
    "Layer": {
        "name": (1, "bytes"),
        "type": (2, "bytes"),
        "blobs": (7, "Blob*"),
        "input_param": (143, "Input"),
        **_parameters(106, 117, 121, 123),
    },
    "OldLayer": {
        "name": (4, "bytes"),
        "type": (5, "OldType"),
        "blobs": (6, "Blob*"),
        **_parameters(10, 17, 19, 30),
    },
    "Net": {
        "layers": (2, "OldLayer*"),
        "input_dim": (4, "int64*"),
        "input_shape": (8, "Shape*"),
        "layer": (100, "Layer*"),
    },
}
_ENUMS = {
    "Pool": {"MAX": 0, "AVE": 1, "STOCHASTIC": 2},
    "OldType": {
        "NONE": 0,
        "ACCURACY": 1,
        "CONCAT": 3,
        "CONVOLUTION": 4,
        "DATA": 5,
        "DROPOUT": 6,
        "HDF5_DATA": 9,
        "IMAGE_DATA": 12,
        "INNER_PRODUCT": 14,
        "LRN": 15,
        "POOLING": 17,
        "RELU": 18,
        "SOFTMAX": 20,
        "SOFTMAX_LOSS": 21,
        "SPLIT": 22,
        "ELTWISE": 25,
        "MEMORY_DATA": 29,
    },
}
# Old names of layer types, and their current ones; None for layers that do nothing in
# prediction.
_KINDS = {
    "CONVOLUTION": "Convolution",
    "INNER_PRODUCT": "InnerProduct",
    "POOLING": "Pooling",
    "RELU": "ReLU",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "Softmax",
    "SoftmaxWithLoss": "Softmax",
    **dict.fromkeys(("Data", "HDF5Data", "ImageData", "Input", "MemoryData", "Python")),
    **dict.fromkeys(("DATA", "HDF5_DATA", "IMAGE_DATA", "MEMORY_DATA")),
    **dict.fromkeys(("Accuracy", "Dropout", "Split", "ACCURACY", "DROPOUT", "SPLIT")),
}
_NET = messages("skage.caffe", _SCHEMA, _ENUMS)["Net"]


def read_caffemodel(path: str) -> list[Layer]:
    """Read the layers and weights of a .caffemodel, in either of Caffe's two layer formats.

    Raises
    ------
    ValueError
        If the file is not a .caffemodel, or is damaged. The message continues a sentence
        that begins with the file's name.
    """
    net = parse(path, _NET, "a Caffe model")
    layers = [_layer(layer) for layer in (*net.layer, *net.layers)]
    found = [layer for layer in layers if layer is not None]
    if not any(layer.weight is not None for layer in found):
        raise ValueError(
            "is not a Caffe model: it has no layer with weights. Pass a .caffemodel in Caffe's "
            "binary format."
        )
    return found


def read_prototxt(path: str) -> tuple[list[Layer], tuple[int, ...] | None]:
    """Read the layers of a .prototxt, and its input shape (n, 3, height, width) or None.

    Raises
    ------
    ValueError
        If the file is not a .prototxt. The message continues a sentence that begins with
        the file's name.
    """
    net = _NET()
    try:
        with open(path, encoding="utf-8") as file:
            text_format.Parse(file.read(), net, allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(
            f"is not a Caffe network in text format: {error}. Pass the model's deploy .prototxt."
        ) from error
    shapes = [net.input_dim, *(shape.dim for shape in net.input_shape)]
    shapes += [shape.dim for layer in net.layer for shape in layer.input_param.shape]
    stated = next((tuple(shape) for shape in shapes if len(shape)), None)
    layers = [_layer(layer, use_defaults=True) for layer in (*net.layer, *net.layers)]
    return [layer for layer in layers if layer is not None], stated


def _layer(layer: Any, use_defaults: bool = False) -> Layer | None:
    """Convert a layer; None if it does nothing in prediction.

    With `use_defaults`, settings missing from the file have Caffe's defaults. Otherwise they
    are unknown.
    """
    kind = layer.type
    if isinstance(kind, int):
        kind = {number: name for name, number in _ENUMS["OldType"].items()}[kind]
    else:
        kind = text(kind)
    kind = _KINDS.get(kind, kind)
    if kind is None:
        return None
    found = Layer(text(layer.name), kind)
    stated = dict(zip(_PARAMETER_TYPES, _PARAMETERS, strict=True)).get(kind)
    if stated is not None and (use_defaults or layer.HasField(stated)):
        parameters = getattr(layer, stated)
        found.settings = _settings(kind, parameters)
        if kind in ("Convolution", "InnerProduct"):
            found.n_outputs = parameters.num_output
    if kind in ("Convolution", "InnerProduct"):
        arrays = [_array(blob, found.name) for blob in layer.blobs]
        found.weight, found.bias = (*arrays, None, None)[:2]
    return found


def _settings(kind: str, param: Any) -> dict[str, Any]:
    def pair(name: str, default: int) -> tuple[int, int]:
        if param.HasField(f"{name}_h") or param.HasField(f"{name}_w"):
            return getattr(param, f"{name}_h"), getattr(param, f"{name}_w")
        sides = getattr(param, "kernel_size" if name == "kernel" else name) or [default]
        return sides[0], sides[-1]

    if kind == "ReLU":
        return {"slope below 0": param.negative_slope}
    if kind == "InnerProduct":
        return {
            "bias": param.bias_term or not param.HasField("bias_term"),
            "transposed": param.transpose,
        }
    shared = {"kernel": pair("kernel", 0), "stride": pair("stride", 1), "padding": pair("pad", 0)}
    if kind == "Pooling":
        pooling = "global" if param.global_pooling else ("max", "average", "stochastic")[param.pool]
        return {"pooling": pooling, **shared}
    return {
        **shared,
        "bias": param.bias_term or not param.HasField("bias_term"),
        "groups": param.group or 1,
        "dilation": max(param.dilation, default=1),
    }


def _array(blob: Any, name: str) -> np.ndarray:
    shape = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
    chunks, dtype = (blob.double_data, "<f8") if blob.double_data else (blob.data, "<f4")
    return array(chunks, dtype, shape, name)
