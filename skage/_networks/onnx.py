"""ONNX files, run by onnxruntime; nothing in them is executed as code."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._files.paths import resolve_path
from .._keys import file_key
from .._memory import sessions
from ..preprocessing import Preprocessing

_MAX_BYTES = 2**31 - 1  # of a protocol buffer
# ONNX's metadata of image models.
_ORDERS = {"Rgb8": "rgb", "Bgr8": "bgr"}
_RANGES = {
    "NominalRange_0_255": (0.0, 1.0),
    "Normalized_0_1": (0.0, 255.0),
    "Normalized_1_1": (127.5, 127.5),
}


class OnnxSession:
    """A session of onnxruntime; sessions are shared by networks of the same content.

    Parameters
    ----------
    content : bytes
        Of an ONNX file.
    device : torch.device

    Raises
    ------
    ValueError
        If onnxruntime cannot run the file.
    """

    def __init__(self, content: bytes, device: torch.device):
        runtime = _import_onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Idle threads must not compete with those that decode images.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A file may name others that hold its weights: none is read, whatever it names.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", os.devnull
        )
        providers = ["CPUExecutionProvider"]
        if device.type == "cuda" and "CUDAExecutionProvider" in runtime.get_available_providers():
            providers = ["CUDAExecutionProvider", *providers]
        try:
            self.session = runtime.InferenceSession(content, options, providers)
        except Exception as error:  # onnxruntime's own classes, which have no common base
            raise ValueError(_reason(error)) from error
        self.inputs, self.outputs = self.session.get_inputs(), self.session.get_outputs()

    @classmethod
    def of(cls, key: bytes, read: Callable[[], bytes], device: torch.device) -> OnnxSession:
        """Return this process's session for the content of a file, given its key."""
        facts = key, str(device), torch.get_num_threads()
        return sessions.get_or_make(facts, lambda: cls(read(), device))

    def __call__(self, x: np.ndarray, output: str) -> np.ndarray:
        """Return an output for normalised images (n, s, s, 3), float32."""
        given = self.inputs[0]
        if _is_channels_first(given.shape):
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        batch = given.shape[0]
        step = batch if isinstance(batch, int) and batch > 0 else len(x)
        found = []
        for start in range(0, len(x), step):
            block = x[start : start + step]
            missing = step - len(block)
            padded = np.concatenate([block, np.zeros((missing, *x.shape[1:]), x.dtype)])
            try:
                [result] = self.session.run([output], {given.name: padded})
            except Exception as error:
                raise ValueError(
                    f"fails on images of shape {padded.shape} at output {output!r}: "
                    f"{_first(error)}. Check output, and the size in preprocessing."
                ) from error
            if not isinstance(result, np.ndarray) or result.dtype.kind != "f":
                raise ValueError(f"has no numbers at output {output!r}. Pass another output.")
            if result.ndim < 2 or len(result) != len(padded):
                raise ValueError(
                    f"has an output {output!r} of shape {result.shape} for {len(padded)} images. "
                    "Pass an output with one row for each image."
                )
            found.append(result[: len(block)])
        return np.concatenate(found).astype(np.float32, copy=False)


@dataclass
class OnnxFacts:
    """What an ONNX file says of itself.

    Parameters
    ----------
    path : str
    shape : list of int, str or None
        Of its input.
    outputs : dict of str to list
        Shapes by name.
    metadata : dict of str to str
    """

    path: str
    shape: list[Any]
    outputs: dict[str, list[Any]]
    metadata: dict[str, str]

    def resolve(
        self, output: str | int | None, preprocessing: Preprocessing | None
    ) -> tuple[str, Preprocessing]:
        """Return the output's name and a preprocessing with its size, completed by the file.

        Raises
        ------
        ValueError
            If the file does not say what was not given, or says otherwise.
        """
        return self._output(output), self._preprocessing(preprocessing)

    def _output(self, output: str | int | None) -> str:
        names = list(self.outputs)
        if output is None and len(names) == 1:
            return names[0]
        if type(output) is int and -len(names) <= output < len(names):
            return names[output]
        if isinstance(output, str) and output in names:
            return output
        shapes = ", ".join(f"{name!r} {_written(shape)}" for name, shape in self.outputs.items())
        wrong = "has several outputs" if output is None else f"has no output {output!r}"
        raise ValueError(f"{self.path!r} {wrong}. Pass output= one of: {shapes}.")

    def _preprocessing(self, given: Preprocessing | None) -> Preprocessing:
        if given is None:
            order = _ORDERS.get(self.metadata.get("Image.BitmapPixelFormat", ""))
            span = _RANGES.get(self.metadata.get("Image.NominalPixelRange", ""))
            if order is None or span is None:
                raise ValueError(
                    f"{self.path!r} does not say how its pixels are normalised. Pass "
                    "preprocessing=Preprocessing(channels=..., mean=..., std=...) with what it was "
                    "trained with."
                )
            given = Preprocessing(channels=order, mean=span[0], std=span[1])
        sides = self.shape[2:] if _is_channels_first(self.shape) else self.shape[1:3]
        stated = [side for side in sides if isinstance(side, int)]
        if len(set(stated)) > 1:
            raise ValueError(
                f"{self.path!r} takes images of {_written(sides)} pixels, which are not square. "
                "Export it for square ones."
            )
        if given.size is None and not stated:
            raise ValueError(
                f"{self.path!r} takes images of any size. Pass the size in pixels that it was "
                "trained with: preprocessing=Preprocessing(size=...)."
            )
        if given.size is not None and stated and given.size != stated[0]:
            raise ValueError(
                f"{self.path!r} takes images of {stated[0]} pixels, not size={given.size}. Leave "
                "size out of preprocessing."
            )
        return given._completed(stated[0] if stated else None)


def read_onnx(path: str | os.PathLike) -> tuple[bytes, OnnxFacts]:
    """Return the content of an ONNX file, and what it says of itself.

    Raises
    ------
    ValueError
        If the file is missing, or is not a network that takes one batch of color images.
    ImportError
        If onnxruntime is not installed.
    """
    path = resolve_path(path, "network")
    if os.path.isdir(path):
        raise ValueError(f"network={path!r} is a folder. Name the .onnx file in it.")
    if not os.path.exists(path):
        raise ValueError(f"network={path!r} does not exist. Check the path.")
    if os.path.getsize(path) > _MAX_BYTES:
        raise ValueError(
            f"{path!r} is larger than 2 GB, which no ONNX file can be. Its weights may be in "
            "another file: name the .onnx file, and see its advice."
        )
    with open(path, "rb") as file:
        content = file.read()
    try:
        session = OnnxSession.of(file_key(content), lambda: content, torch.device("cpu"))
    except ValueError as error:
        raise ValueError(f"{path!r} {error}") from error
    if len(session.inputs) != 1:
        names = ", ".join(repr(i.name) for i in session.inputs)
        raise ValueError(
            f"{path!r} has {len(session.inputs)} inputs ({names}). Pass a network whose only input "
            "is a batch of images."
        )
    [given] = session.inputs
    shape = given.shape or []
    if len(shape) != 4 or 3 not in (shape[1], shape[3]) or given.type != "tensor(float)":
        raise ValueError(
            f"{path!r} takes {given.type} of shape {_written(shape)}, not float images of shape "
            "(n, 3, height, width) or (n, height, width, 3). Export it with such an input."
        )
    outputs = {found.name: found.shape for found in session.outputs}
    metadata = session.session.get_modelmeta().custom_metadata_map
    return content, OnnxFacts(path, shape, outputs, metadata)


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("ONNX networks need onnxruntime: pip install 'skage[onnx]'") from error
    return onnxruntime


def _is_channels_first(shape: list[Any]) -> bool:
    return shape[1] == 3


def _written(shape: list[Any]) -> str:
    return f"({', '.join(str(side) for side in shape)})"


def _first(error: Exception) -> str:
    """The first line of an error of onnxruntime, without its codes and paths."""
    text = re.sub(r"^.*?: \d+ : [A-Z_]+ : ", "", (str(error) or "unknown error").splitlines()[0])
    return text.partition(" /onnxruntime")[0].strip().rstrip(".")[:300]


def _reason(error: Exception) -> str:
    """Say why onnxruntime refuses a file, and what to do."""
    text = str(error)
    if re.search("external|model_path must not be empty|filesystem error", text.lower()):
        return (
            "keeps weights in another file. Merge them: "
            "onnx.save(onnx.load('network.onnx'), 'merged.onnx')."
        )
    damaged = "protobuf parsing failed|ModelProto does not have|No graph was found"
    if re.search(damaged, text, re.IGNORECASE):
        return "is not an ONNX file, or is damaged. Download or export it again."
    return f"cannot be run by this version of onnxruntime: {_first(error)}."
