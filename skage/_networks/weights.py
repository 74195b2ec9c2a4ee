"""Load pretrained weights from torchvision, a weights file or a model file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import get_model_weights

from .. import _memory
from .._files.container import read_container
from .._files.paths import resolve_path

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Weights:
    """Pretrained tensors, and how the network's inputs are normalised.

    Parameters
    ----------
    tensors : dict of str to Tensor
        Tensors by torchvision's names.
    mean, std : tuples of 3 floats
        Mean and standard deviation that normalise RGB pixels in [0, 1].
    bin_values : list of float or None
        Ages in years that the outputs of an age estimator stand for. Its dense layers
        are then used too.
    """

    tensors: Mapping[str, Tensor]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    bin_values: Sequence[float] | None = None


def load_weights(weights: str | os.PathLike | Weights, backbone: str = "vgg16") -> Weights:
    """Load "imagenet" weights, a .safetensors or torch file, or a .skage model.

    Raises
    ------
    ValueError
        If the name is unknown, or the file does not contain the weights of a VGG network.
    OSError
        If the ImageNet weights are neither on disk nor can be downloaded.
    """
    if isinstance(weights, Weights):
        return weights
    if weights == "imagenet":
        return _imagenet(backbone)
    path = resolve_path(weights, "weights")
    if not os.path.isfile(path):
        raise ValueError(
            f"weights={os.fspath(weights)!r} is neither 'imagenet', None, nor an existing file. "
            "Pass one of them, such as the path of a .safetensors, .pth or .skage file."
        )
    status = os.stat(path)
    key = path, status.st_ino, status.st_mtime_ns, status.st_size
    return _memory.weights.get_or_make(key, lambda: _read_weights(path))


def _imagenet(backbone: str) -> Weights:
    weights = get_model_weights(backbone).IMAGENET1K_V1
    name = weights.url.rsplit("/", 1)[1]
    path = os.path.join(resolve_path(torch.hub.get_dir(), "TORCH_HOME"), "checkpoints", name)
    if not os.path.isfile(path):
        try:
            weights.get_state_dict(progress=True, check_hash=True)
        except OSError as error:
            raise OSError(
                f"The ImageNet weights could not be downloaded from {weights.url} ({error}). "
                f"Download it on a machine with network access and pass weights='path/to/{name}', "
                f"or put it at {path}."
            ) from error
    return load_weights(path)


def read_tensors(path: str) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors or torch file, without executing any code in it."""
    state: Any
    if path.endswith(".safetensors"):
        state = load_file(path)
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch's own message suggests loading it unsafely
            raise ValueError(
                "it is not a torch file, or contains more than tensors, which could execute code. "
                "Save the network's state_dict() instead"
            ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    entries = state.items() if isinstance(state, Mapping) else ()
    return {name: value for name, value in entries if isinstance(value, Tensor)}


def _read_weights(path: str) -> Weights:
    try:
        if path.endswith(".skage"):
            return _read_model(path)
        if path.endswith((".caffemodel", ".onnx")):
            raise ValueError("load it with skage.load_dex, save the model, and pass its file")
        state = read_tensors(path)
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable .safetensors, torch or .skage file: "
            f"{(str(error) or type(error).__name__).splitlines()[0].rstrip('.')}."
        ) from error
    unknown = sorted(k for k in state if not k.startswith(("features.", "classifier.")))
    if "features.0.weight" not in state or unknown:
        raise ValueError(
            f"{path} does not contain VGG weights with torchvision's names (features.0.weight, "
            f"...); found {', '.join((unknown or sorted(state))[:3]) or 'no tensors'}. Pass a "
            "state dict of torchvision's network."
        )
    return Weights(state)


def _read_model(path: str) -> Weights:
    """Read the weights of a model file; from an ensemble, those of the first network."""
    header, stored = read_container(path)
    if header["kind"] != "VGG16Classifier":
        raise ValueError(f"it holds the network of an {header['kind']}. Pass a VGG16Classifier's")
    tensors = {
        re.sub(r"^(frozen|head)\.(0\.)?", "", name): tensor
        for name, tensor in stored.items()
        if not re.match(r"head\.[1-9]", name)
    }
    values = np.asarray(header["bin_values"])[header["classes"]].tolist()
    return Weights(tensors, tuple(header["mean"]), tuple(header["std"]), values)
