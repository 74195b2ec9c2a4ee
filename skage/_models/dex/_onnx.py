"""Read ONNX files, with declarations of the fields that are needed.

The field numbers are those of ``onnx/onnx.proto`` in onnx/onnx.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._chain import Layer
from ._proto import array, messages, parse, text

_SCHEMA = {
    "Tensor": {
        "dims": (1, "int64*"),
        "data_type": (2, "int64"),
        "float_data": (4, "bytes*"),
        "name": (8, "bytes"),
        "raw_data": (9, "bytes"),
        "double_data": (10, "bytes*"),
        "data_location": (14, "int64"),
    },
    "Attribute": {
        "name": (1, "bytes"),
        "f": (2, "float"),
        "i": (3, "int64"),
        "s": (4, "bytes"),
        "t": (5, "Tensor"),
        "ints": (8, "int64*"),
    },
    "Node": {
        "input": (1, "bytes*"),
        "output": (2, "bytes*"),
        "name": (3, "bytes"),
        "op_type": (4, "bytes"),
        "attribute": (5, "Attribute*"),
    },
    "Graph": {"node": (1, "Node*"), "initializer": (5, "Tensor*")},
    "Model": {"graph": (7, "Graph")},
}

_KINDS = {
    "Conv": "Convolution",
    "Gemm": "InnerProduct",
    "MaxPool": "Pooling",
    "Relu": "ReLU",
    **dict.fromkeys(("Dropout", "Flatten", "Identity", "Reshape")),
}
_MODEL = messages("skage.onnx", _SCHEMA)["Model"]


def read_onnx(path: str) -> list[Layer]:
    """Read the layers and weights of an .onnx file whose graph is a chain.

    Raises
    ------
    ValueError
        If the file is not an ONNX model, is damaged, or has a graph that branches. The
        message continues a sentence that begins with the file's name.
    """
    graph = parse(path, _MODEL, "an ONNX model").graph
    if not graph.node:
        raise ValueError("is not an ONNX model: it has no graph. Pass an .onnx file.")
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    layers = []
    before: bytes | None = None
    for node in graph.node:
        attributes = {text(a.name): a for a in node.attribute}
        if node.op_type == b"Constant":
            if "value" in attributes:
                tensors |= dict.fromkeys(node.output, attributes["value"].t)
            continue
        operator = text(node.op_type)
        name = text(node.name or next(iter(node.output), b""))
        sources = [source for source in node.input if source and source not in tensors]
        if len(sources) != 1 or (before is not None and sources[0] != before):
            raise ValueError(
                f"has another architecture than VGG16, which is a chain: its {operator} node "
                f"{name!r} uses {', '.join(map(text, sources)) or 'no input'} rather than the "
                "output of the node before it. Pass one of DEX's age models."
            )
        before = next(iter(node.output), b"")
        kind = _KINDS.get(operator, operator)
        if kind is None:
            continue
        layer = Layer(name, kind, _settings(kind, attributes))
        if kind in ("Convolution", "InnerProduct"):
            arrays = [_array(tensors[i]) for i in node.input if i in tensors]
            layer.weight, layer.bias = (*arrays, None, None)[:2]
            if (
                kind == "InnerProduct"
                and layer.weight is not None
                and not _integer(attributes, "transB", 0)
            ):
                layer.weight = np.ascontiguousarray(layer.weight.T)
        layers.append(layer)
    return layers


def _settings(kind: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    def sides(name: str, default: int) -> tuple[int, ...]:
        given = tuple(attributes[name].ints) if name in attributes else (default, default)
        half = len(given) // 2
        return given[:half] if len(given) == 4 and given[:half] == given[half:] else given

    if kind == "InnerProduct":
        factors = {name: attributes[name].f for name in ("alpha", "beta") if name in attributes}
        return {**factors, "transposed input": bool(_integer(attributes, "transA", 0))}
    if kind not in ("Convolution", "Pooling"):
        return {}
    settings: dict[str, Any] = {"stride": sides("strides", 1), "padding": sides("pads", 0)}
    if "kernel_shape" in attributes:
        settings["kernel"] = sides("kernel_shape", 0)
    if "auto_pad" in attributes and attributes["auto_pad"].s not in (b"", b"NOTSET"):
        settings["padding"] = text(attributes["auto_pad"].s)
    if kind == "Convolution":
        settings["groups"] = _integer(attributes, "group", 1)
    return settings | {"dilation": max(sides("dilations", 1))}


def _integer(attributes: Mapping[str, Any], name: str, default: int) -> int:
    return attributes[name].i if name in attributes else default


def _array(tensor: Any) -> np.ndarray:
    name, shape = text(tensor.name), tuple(tensor.dims)
    if tensor.data_location:
        raise ValueError(
            f"keeps its weights ({name}) in other files. Save it as a single file first."
        )
    dtype = {1: "<f4", 10: "<f2", 11: "<f8"}.get(tensor.data_type)
    if dtype is None:
        raise ValueError(
            f"has weights ({name}) of ONNX's data type {tensor.data_type}. Convert them to float32."
        )
    if tensor.HasField("raw_data"):
        return array([tensor.raw_data], dtype, shape, name)
    return array(tensor.double_data if dtype == "<f8" else tensor.float_data, dtype, shape, name)
