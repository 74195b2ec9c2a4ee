"""The layers of a model file, and checks that they are those of VGG16."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Number of convolutions in each block of VGG16.
BLOCKS = (2, 2, 3, 3, 3)
_SIDE = 7  # of the last block's feature maps, for images of 224 pixels


@dataclass
class Layer:
    """A layer of a network.

    Parameters
    ----------
    name : str
    kind : str
        Caffe's layer type, such as "Convolution", "InnerProduct" or "ReLU".
    settings : dict
        The settings stated in the file, by the names in this module.
    n_outputs : int, default=None
        Number of channels or units, if stated in the file.
    weight : ndarray, float32, default=None
        Of shape (out, in, height, width) or (out, in), possibly with leading axes of size 1.
    bias : ndarray, float32, default=None
    """

    name: str
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    n_outputs: int | None = None
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None


def _vgg16() -> list[tuple[str, str]]:
    """Return the kind and the usual name of each layer."""
    layers = []
    for block, n_convolutions in enumerate(BLOCKS, 1):
        for i in range(1, n_convolutions + 1):
            layers += [("Convolution", f"conv{block}_{i}"), ("ReLU", f"relu{block}_{i}")]
        layers.append(("Pooling", f"pool{block}"))
    for i in (6, 7):
        layers += [("InnerProduct", f"fc{i}"), ("ReLU", f"relu{i}")]
    return [*layers, ("InnerProduct", "fc8"), ("Softmax", "prob")]


_VGG16 = _vgg16()
_WEIGHTED = ("Convolution", "InnerProduct")
#: The usual names of the layers that have weights.
NAMES = tuple(name for kind, name in _VGG16 if kind in _WEIGHTED)
_WANTED: dict[str, dict[str, Any]] = {
    "Convolution": {
        "kernel": (3, 3),
        "stride": (1, 1),
        "padding": (1, 1),
        "bias": True,
        "groups": 1,
        "dilation": 1,
    },
    "Pooling": {
        "pooling": "max",
        "kernel": (2, 2),
        "stride": (2, 2),
        "padding": (0, 0),
        "dilation": 1,
    },
    "InnerProduct": {
        "bias": True,
        "transposed": False,
        "transposed input": False,
        "alpha": 1,
        "beta": 1,
    },
    "ReLU": {"slope below 0": 0},
}


def check_chain(layers: Sequence[Layer], complete: bool) -> None:
    """Check that the layers are those of VGG16, in order; the softmax may be missing.

    Parameters
    ----------
    layers : list of Layer
    complete : bool
        Whether all kinds of layers must be present. Otherwise kinds without weights may be
        missing, as in files that contain only weights.

    Raises
    ------
    ValueError
        If a layer differs. The message continues a sentence that begins with the file's
        name.
    """
    present = {layer.kind for layer in layers}
    wanted = [
        (kind, name)
        for kind, name in _VGG16
        if kind in present or kind in _WEIGHTED or (complete and kind != "Softmax")
    ]
    for position, (kind, name) in enumerate(wanted):
        if position == len(layers):
            after = f"after {layers[-1].name!r}" if layers else "before any layer"
            raise _wrong_architecture(f"it ends {after}, but VGG16 continues with {name} ({kind})")
        layer = layers[position]
        if layer.kind != kind:
            raise _wrong_architecture(
                f"its layer {layer.name!r} is of kind {layer.kind}, not {kind} ({name})"
            )
        for setting, value in layer.settings.items():
            if value != (expected := _WANTED[kind][setting]):
                raise _wrong_architecture(
                    f"{setting} of its layer {layer.name!r} is {value}, not {expected}"
                )
    if len(layers) > len(wanted):
        extra = layers[len(wanted)]
        raise _wrong_architecture(
            f"it continues with {extra.name!r} ({extra.kind}) after the last layer of VGG16"
        )


def check_outputs(layers: Sequence[Layer], network: Sequence[Layer]) -> None:
    """Check that layers with weights have as many outputs as a network description states.

    Raises
    ------
    ValueError
        If one does not. The message continues a sentence that begins with the name of the
        file with weights.
    """
    stated = [layer for layer in network if layer.kind in _WEIGHTED]
    found = [layer for layer in layers if layer.kind in _WEIGHTED]
    for layer, other in zip(found, stated, strict=True):
        n_outputs = _plain_weight(layer).shape[0]
        if n_outputs != other.n_outputs:
            raise ValueError(
                f"does not match the prototxt: layer {layer.name!r} has {n_outputs} outputs, but "
                f"{other.name!r} in the prototxt has {other.n_outputs}. Pass the prototxt of this "
                "model, or leave it out."
            )


def chain_weights(layers: Sequence[Layer]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the weight and bias of each layer, by its usual name.

    Layers may be narrower than those of VGG16, if they match each other.

    Raises
    ------
    ValueError
        If a shape does not match. The message continues a sentence that begins with the
        file's name.
    """
    weights = {}
    n_before = 3
    for name, layer in zip(NAMES, [x for x in layers if x.kind in _WEIGHTED], strict=True):
        weight, bias = _plain_weight(layer), layer.bias
        dense = layer.kind == "InnerProduct"
        if name == "fc6":
            n_before *= _SIDE**2
        expected = (n_before,) if dense else (n_before, 3, 3)
        if weight.shape[1:] != expected or not len(weight):
            hint = (
                f" (at 224 pixels the feature maps are {_SIDE} x {_SIDE})" if name == "fc6" else ""
            )
            raise _wrong_architecture(
                f"the weights of its layer {layer.name!r} have shape {weight.shape}, not "
                f"(outputs, {', '.join(map(str, expected))}){hint}"
            )
        if bias is None or bias.size != len(weight):
            raise _wrong_architecture(
                f"its layer {layer.name!r} does not have one bias for each output"
            )
        weights[name] = weight, bias.reshape(-1)
        n_before = len(weight)
    return weights


def by_name(
    state: Mapping[str, np.ndarray], names: Mapping[str, str]
) -> tuple[list[Layer], list[str]]:
    """Collect layers from named weights, and return the names in `state` that are left over.

    Parameters
    ----------
    state : dict of str to ndarray
    names : dict of str to str
        The layers' names in `state`, by their usual names.
    """
    layers = []
    left = set(state)
    for usual in NAMES:
        kind = "Convolution" if usual.startswith("conv") else "InnerProduct"
        keys = [f"{names[usual]}.weight", f"{names[usual]}.bias"]
        weight, bias = map(state.get, keys)
        if weight is None:
            continue
        layers.append(Layer(names[usual], kind, weight=weight, bias=bias))
        left -= set(keys)
    return layers, sorted(left)


def _plain_weight(layer: Layer) -> np.ndarray:
    """Return the weight without the leading axes of size 1 of Caffe's old format."""
    if layer.weight is None:
        raise ValueError(f"has no weights for its layer {layer.name!r}. Download it again.")
    n_axes = 2 if layer.kind == "InnerProduct" else 4
    extra = layer.weight.ndim - n_axes
    if extra > 0 and set(layer.weight.shape[:extra]) == {1}:
        return layer.weight.reshape(layer.weight.shape[extra:])
    return layer.weight


def _wrong_architecture(what: str) -> ValueError:
    return ValueError(
        f"has another architecture than DEX's VGG16: {what}. Pass one of DEX's age models."
    )
