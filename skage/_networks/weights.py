"""Pretrained weights: torchvision's, a file's, or a model's."""

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
    """Tensors by torchvision's names, and what the network that they are of was fed.

    Parameters
    ----------
    tensors : dict of str to Tensor
    mean, std : tuples of 3 floats
        By which pixels in [0, 1] are normalised, RGB.
    bin_values : list of float or None
        Ages in years that the outputs stand for, of an age estimator: then its dense
        layers count too.
    """

    tensors: Mapping[str, Tensor]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    bin_values: Sequence[float] | None = None


def load_weights(weights: str | os.PathLike | Weights, backbone: str = "vgg16") -> Weights:
    """Weights of "imagenet", of a .safetensors or torch file, or of a .skage model.

    Raises
    ------
    ValueError
        If the name is unknown, or the file holds no weights of a VGG network.
    OSError
        If the ImageNet weights can neither be found nor downloaded.
    """
    if isinstance(weights, Weights):
        return weights
    if weights == "imagenet":
        return _imagenet(backbone)
    path = resolve_path(weights, "weights")
    if not os.path.isfile(path):
        raise ValueError(
            f"weights={os.fspath(weights)!r} is neither 'imagenet', None, nor an existing file "
            "(.safetensors, .pth, .skage)."
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
                f"Fetch {name} on a machine with network and pass weights='path/to/{name}', or "
                f"put it at {path}."
            ) from error
    return load_weights(path)


def read_tensors(path: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors or torch file; no code in it runs."""
    state: Any
    if path.endswith(".safetensors"):
        state = load_file(path)
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch's messages advise loading it unsafely
            raise ValueError(
                "it is not a file that torch.save wrote, or holds more than tensors, whose loading "
                "could run code; save the network's state_dict()"
            ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    entries = state.items() if isinstance(state, Mapping) else ()
    return {name: value for name, value in entries if isinstance(value, Tensor)}


def _read_weights(path: str) -> Weights:
    try:
        if path.endswith(".skage"):
            return _of_model(path)
        if path.endswith((".caffemodel", ".onnx")):
            raise ValueError("Read it by skage.load_dex, save that, and pass the .skage file.")
        state = read_tensors(path)
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable .safetensors, torch or .skage file: "
            f"{(str(error) or type(error).__name__).splitlines()[0].rstrip('.')}."
        ) from error
    unknown = sorted(k for k in state if not k.startswith(("features.", "classifier.")))
    if "features.0.weight" not in state or unknown:
        raise ValueError(
            f"{path} holds no VGG weights with torchvision's names (features.0.weight, ...): "
            f"found {', '.join((unknown or sorted(state))[:3]) or 'no tensors'}."
        )
    return Weights(state)


def _of_model(path: str) -> Weights:
    """The weights of a model file, of an ensemble its first network's."""
    header, stored = read_container(path)
    tensors = {
        re.sub(r"^(frozen|head)\.(0\.)?", "", name): tensor
        for name, tensor in stored.items()
        if not re.match(r"head\.[1-9]", name)
    }
    values = np.asarray(header["bin_values"])[header["classes"]].tolist()
    return Weights(tensors, tuple(header["mean"]), tuple(header["std"]), values)
