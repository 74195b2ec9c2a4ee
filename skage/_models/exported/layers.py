"""The nodes of networks: VGG, networks of others, and the heads on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from ..._networks.embedding import _TINY, EmbeddingHead, OnnxEmbedding
from ..._networks.layers import Layers
from ..._networks.vgg import VGGLayers
from .graph import Graph

_SMALLEST_NORM = 1e-12  # of torch.nn.functional.normalize


def add_layers(graph: Graph, layers: Layers, x: str, image_size: int) -> str:
    """Add the frozen layers of a network, or its head, and return the output's name.

    Parameters
    ----------
    graph : Graph
    layers : Layers
    x : str
        Name of uint8 images (n, s, s, 3) for the first layers, else of the output of the
        layers before.
    image_size : int
        Side of the images in pixels.
    """
    if isinstance(layers, VGGLayers):
        return _add_vgg(graph, layers, x, image_size)
    if isinstance(layers, OnnxEmbedding):
        return _add_embedding(graph, layers, x)
    assert isinstance(layers, EmbeddingHead)
    return _add_embedding_head(graph, layers, x)


def _add_vgg(graph: Graph, layers: VGGLayers, x: str, image_size: int) -> str:
    if layers.normalise:
        x = _add_normalised(graph, layers, x)
        x = graph.add("Transpose", x, perm=[0, 3, 1, 2])
    x = _add_convolutions(graph, layers.features, x)
    if layers.pool is not None:
        side: Any = layers.pool.output_size
        x = graph.add("Flatten", _add_pool(graph, x, image_size // 32, side), axis=1)
    return _add_dense(graph, layers.classifier, x)


def _add_normalised(graph: Graph, layers: VGGLayers | OnnxEmbedding, x: str) -> str:
    x = graph.cast(x, np.float32)
    return graph.add("Div", graph.add("Sub", x, _numbers(layers.mean)), _numbers(layers.std))


def _add_convolutions(graph: Graph, features: nn.Sequential, x: str) -> str:
    modules = list(features)
    for i, module in enumerate(modules):
        following = modules[i + 1] if i + 1 < len(modules) else None
        if isinstance(module, nn.Conv2d):
            norm = following if isinstance(following, nn.BatchNorm2d) else None
            x = graph.add(
                "Conv", x, *_with_norm(module, norm), kernel_shape=[3, 3], pads=[1, 1, 1, 1]
            )
        elif isinstance(module, nn.ReLU):
            x = graph.add("Relu", x)
        elif isinstance(module, nn.MaxPool2d):
            x = graph.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    return x


def _with_norm(convolution: nn.Conv2d, norm: nn.BatchNorm2d | None) -> list[np.ndarray]:
    """Weight and bias of a convolution, and of the batch normalisation behind it."""
    weight, bias = _numbers(convolution.weight), _numbers(convolution.bias)
    if norm is None:
        return [weight, bias]
    mean, variance = _numbers(norm.running_mean), _numbers(norm.running_var)
    scale = _numbers(norm.weight) / np.sqrt(variance + norm.eps)
    return [weight * scale[:, None, None, None], (bias - mean) * scale + _numbers(norm.bias)]


def _add_pool(graph: Graph, x: str, side: int, new_side: int) -> str:
    """The adaptive average pooling of torch: products with a matrix from both sides."""
    if side == new_side:
        return x
    means = np.zeros((side, new_side))
    for j in range(new_side):
        start, end = j * side // new_side, -(-(j + 1) * side // new_side)
        means[start:end, j] = 1 / (end - start)
    return graph.add("MatMul", graph.add("MatMul", means.T, x), means)


def _add_dense(graph: Graph, modules: nn.Sequential, x: str) -> str:
    for module in modules:
        if isinstance(module, nn.Linear):
            x = graph.add("Gemm", x, _numbers(module.weight), _numbers(module.bias), transB=1)
        elif isinstance(module, nn.ReLU):
            x = graph.add("Relu", x)
    return x


def _add_embedding(graph: Graph, layers: OnnxEmbedding, x: str) -> str:
    if layers.is_bgr:
        x = graph.add("Gather", x, [2, 1, 0], axis=3)
    x = _add_normalised(graph, layers, x)
    if layers.open().inputs[0].shape[1] == 3:
        x = graph.add("Transpose", x, perm=[0, 3, 1, 2])
    x = graph.network(layers.content.cpu().numpy().tobytes(), x, layers.output)
    return graph.add("Flatten", graph.cast(x, np.float32), axis=1)


def _add_embedding_head(graph: Graph, head: EmbeddingHead, x: str) -> str:
    x = _add_transformed(graph, head.transform, x)
    x = graph.add("Div", graph.add("Sub", x, _numbers(head.center)), _numbers(head.scale))
    return _add_dense(graph, head.classifier, x)


def _add_transformed(graph: Graph, transform: str | None, x: str) -> str:
    if transform == "sqrt":
        root = graph.add("Sqrt", graph.add("Add", graph.add("Abs", x), _TINY))
        return graph.add("Mul", graph.add("Sign", x), root)
    if transform == "unit":
        squares = graph.add("ReduceSum", graph.add("Mul", x, x), [1], keepdims=1)
        return graph.add("Div", x, graph.add("Max", graph.add("Sqrt", squares), _SMALLEST_NORM))
    if transform == "log":
        return graph.add("Log", graph.add("Max", x, 1e-7))
    return x


def _numbers(tensor: Tensor | None) -> np.ndarray:
    assert tensor is not None
    return tensor.detach().cpu().double().numpy()
