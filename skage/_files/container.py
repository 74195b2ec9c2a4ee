"""The container of a model file: tensors and a JSON header under one checksum."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .paths import replacing, resolve_path

_FORMAT = "skage model, format 2"
_BLANK = "0" * 64  # stands for the checksum while it is computed
_CHECKSUM = re.compile(rb'"checksum":"([0-9a-f]{64})"')
_BLOCK = 2**20


class ModelFileError(ValueError):
    """A file that is missing, is not a model file, or is not as it was written."""


def write_container(
    path: str | os.PathLike, header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Write a safetensors file whose metadata hold the header and a checksum of all else.

    An earlier file is replaced by the whole new one, or left as it was.

    Parameters
    ----------
    path : path
    header : dict
        Plain values, as JSON has them.
    tensors : dict of str to Tensor

    Raises
    ------
    OSError
        If the path is a folder or a device, its folder does not exist, or it cannot be
        written.
    """
    is_folder = os.fspath(path).endswith(os.sep)
    path = resolve_path(path)
    folder = os.path.dirname(os.path.realpath(path))
    if is_folder or os.path.isdir(path):
        raise IsADirectoryError(f"{path!r} is a folder. Name a file in it, such as age.skage.")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"Cannot write {path!r}: the folder {folder!r} does not exist.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"Cannot write {path!r}: it is not a regular file. Name another file.")
    metadata = {"format": _FORMAT, "checksum": _BLANK, "model": json.dumps(header)}
    try:
        with replacing(path) as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)  # safetensors has its own
            save_file({name: t.contiguous() for name, t in tensors.items()}, file.name, metadata)
            os.chmod(file.name, mode)
            checksum, position = _checksum(file.name)
            with open(file.name, "r+b") as saved:  # safetensors put another file there
                saved.seek(position)
                saved.write(checksum)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"Cannot write {path!r}: {reason}.") from error


def read_container(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and tensors of a file that `write_container` wrote.

    Raises
    ------
    ModelFileError
        If a single bit is not as it was written, or the file is missing, something
        else, or cannot be read.
    """
    path = resolve_path(path)
    if os.path.isdir(path):
        raise ModelFileError(f"{path!r} is a folder, not a model file.")
    if not os.path.exists(path):
        raise ModelFileError(f"There is no model file {path!r}.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise ValueError(f"its format is {metadata.get('format')!r}, not {_FORMAT!r}")
            checksum, _ = _checksum(path)
            if metadata.get("checksum") != checksum.decode():
                raise ValueError("its checksum is not that of its content")
            return json.loads(metadata["model"]), {
                name: file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118
            }
    except Exception as error:  # damage shows in many ways
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ModelFileError(
            f"{path!r} is not a skage model file, or is damaged: {reason}. Model files are written "
            "by model.save(path) or `python -m skage train`; fetch or train it again."
        ) from error


def _checksum(path: str) -> tuple[bytes, int]:
    """Checksum of a file, its own field blank, and where that field is."""
    with open(path, "rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        if n_header > os.path.getsize(path):
            raise ValueError("its header is longer than the file")
        header = file.read(n_header)
        fields = list(_CHECKSUM.finditer(header))
        if len(fields) != 1:
            raise ValueError("it has no checksum")
        start, end = fields[0].span(1)
        hasher = hashlib.sha256(n_header.to_bytes(8, "little"))
        hasher.update(header[:start] + _BLANK.encode() + header[end:])
        while block := file.read(_BLOCK):
            hasher.update(block)
    return hasher.hexdigest().encode(), 8 + start
