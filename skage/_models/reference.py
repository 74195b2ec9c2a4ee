"""Frozen layers that a model file names by a digest rather than holds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from .._files.paths import resolve_path
from .._networks.weights import load_weights

_START = "frozen."


def take_out(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Replace the frozen layers' tensors by their digest in the header, in place.

    Raises
    ------
    ValueError
        If the model has no frozen layers.
    """
    n_left = len(tensors)
    for place, model in _one_by_one(header):
        start = place + _START
        names = sorted(
            name.removeprefix(start)
            for name, tensor in tensors.items()
            if name.startswith(start) and _is_elsewhere(name.removeprefix(start), tensor)
        )
        if names:
            taken = {name: tensors.pop(start + name) for name in names}
            model["reference"] = {"names": names, "sha256": _digest(taken)}
    if len(tensors) == n_left:
        raise ValueError(
            "frozen='reference' leaves out frozen layers, and this model has none: all its layers "
            "were trained. Save it with frozen='whole'."
        )


def put_back(
    header: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    weights: str | os.PathLike | Sequence[str | os.PathLike] | None,
) -> None:
    """Find the frozen layers that the header names, and put them among the tensors.

    Raises
    ------
    ValueError
        If no file has the layers.
    OSError
        If the ImageNet weights are neither on disk nor can be downloaded.
    """
    if weights is None:
        given: list[str | os.PathLike] = []
    else:
        given = [weights] if isinstance(weights, str | os.PathLike) else list(weights)
    for place, model in _one_by_one(header):
        if "reference" in model:
            found = _find(model, given)
            tensors |= {f"{place}{_START}{name}": tensor for name, tensor in found.items()}


def is_used(header: dict[str, Any]) -> bool:
    """Whether a file leaves out frozen layers."""
    return any("reference" in model for _, model in _one_by_one(header))


def _one_by_one(header: dict[str, Any], place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The headers of the models of one classifier, and how their tensors' names begin."""
    if header["kind"] == "CalibratedAgeRegressor":
        yield from _one_by_one(header["model"], f"{place}model.")
    elif header["kind"] == "AgeEnsemble":
        for i, member in enumerate(header["members"]):
            yield from _one_by_one(member, f"{place}{i}.")
    else:
        yield place, header


def _is_elsewhere(name: str, tensor: torch.Tensor) -> bool:
    """Whether files of weights hold the tensor: ONNX's bytes, or the layers of a VGG."""
    is_layer = name.startswith(("features.", "classifier."))
    return name == "content" or (is_layer and tensor.is_floating_point())


def _find(model: dict[str, Any], given: Sequence[str | os.PathLike]) -> dict[str, torch.Tensor]:
    is_onnx = model["kind"] == "EmbeddingClassifier"
    source = model["classifier"]["network" if is_onnx else "weights"]
    names, wanted = model["reference"]["names"], model["reference"]["sha256"]
    tried = []
    for path in given or ([] if source is None else [source]):
        try:
            read = _onnx_content(path) if is_onnx else _layers(path, names, model)
        except (ValueError, LookupError) as error:
            tried.append(f"{os.fspath(path)!r} cannot be used: {str(error).rstrip('.')}.")
            continue
        if (found := _digest(read)) == wanted:
            return read
        tried.append(f"The frozen layers in {os.fspath(path)!r} have SHA-256 {found}.")
    kind = "the .onnx file of the network" if is_onnx else f"the weights of {_backbone(model)}"
    trained = "" if source is None else f" (trained with {source!r})"
    raise ValueError(
        f"The file holds its frozen layers by reference: it needs {kind}{trained} with SHA-256 "
        f"{wanted}. {' '.join([*tried, ''])}Pass the file's path: skage.load(path, weights=...)."
    )


def _backbone(model: dict[str, Any]) -> str:
    return str(model["classifier"]["backbone"])


def _layers(
    path: str | os.PathLike, names: Sequence[str], model: dict[str, Any]
) -> dict[str, torch.Tensor]:
    known: Mapping[str, torch.Tensor] = load_weights(path, _backbone(model)).tensors
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(f"it has no tensor {missing[0]}")
    return {name: known[name].float() for name in names}


def _onnx_content(path: str | os.PathLike) -> dict[str, torch.Tensor]:
    resolved = resolve_path(path, "weights")
    if not os.path.isfile(resolved):
        raise ValueError("there is no such file")
    with open(resolved, "rb") as file:
        return {"content": torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)}


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """The SHA-256 of an ONNX file, or of the names, shapes and values of layers."""
    hasher = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        if name != "content":
            hasher.update(f"{name} {list(tensor.shape)} {tensor.dtype}\n".encode())
        hasher.update(tensor.numpy().data)
    return hasher.hexdigest()
