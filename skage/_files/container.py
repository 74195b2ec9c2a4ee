"""The container format of model files: tensors and a JSON header with a checksum."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .. import __version__
from .paths import replacing, resolve_path

_FORMAT = "skage model, format 3"
_ANY_FORMAT = re.compile(r"skage model, format (\d{1,9})")
_BLANK = "0" * 64  # stands for the checksum while it is computed
_CHECKSUM = re.compile(rb'"checksum":"([0-9a-f]{64})"')
_BLOCK = 2**20


class ModelFileError(ValueError):
    """A model file is missing, is not one, or has been changed since it was written."""


def write_container(
    path: str | os.PathLike, header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Write a safetensors file whose metadata contain the header and a checksum.

    The checksum, a SHA-256, covers every other byte of the file, and thus the header and each
    tensor. An existing file is replaced atomically: after an error it is unchanged.

    Parameters
    ----------
    path : path
    header : dict
        Values that JSON can represent.
    tensors : dict of str to Tensor

    Raises
    ------
    OSError
        If the path is a folder or a device, its folder does not exist, or writing fails.
    """
    is_folder = os.fspath(path).endswith(os.sep)
    path = resolve_path(path)
    folder = os.path.dirname(os.path.realpath(path))
    if is_folder or os.path.isdir(path):
        raise IsADirectoryError(f"{path!r} is a folder. Name a file in it, such as age.skage.")
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"Cannot write {path!r}: the folder {folder!r} does not exist. Create it first."
        )
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"Cannot write {path!r}: it is not a regular file. Name another file.")
    metadata = {
        "format": _FORMAT,
        "version": __version__,
        "checksum": _BLANK,
        "model": json.dumps(header),
    }
    try:
        with replacing(path) as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)  # safetensors sets another mode
            save_file({name: t.contiguous() for name, t in tensors.items()}, file.name, metadata)
            os.chmod(file.name, mode)
            checksum, position = _checksum(file.name)
            with open(file.name, "r+b") as saved:  # safetensors replaced the file
                saved.seek(position)
                saved.write(checksum)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"Cannot write {path!r}: {reason}.") from error


def read_container(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read the header and tensors from a file written by `write_container`.

    Raises
    ------
    ModelFileError
        If the file is missing, cannot be read, is not a model file, was written by a newer
        version, or differs from what was written, by as little as one bit.
    """
    with _opened(path) as (file, metadata):
        return json.loads(metadata["model"]), {
            name: file.get_tensor(name)
            for name in file.keys()  # noqa: SIM118
        }


def read_header(path: str | os.PathLike) -> tuple[dict[str, Any], str, dict[str, list[int]]]:
    """Read the header, the checksum and the shapes of the tensors, but not the tensors.

    Raises
    ------
    ModelFileError
        As `read_container` does: the checksum is checked here too.
    """
    with _opened(path) as (file, metadata):
        names = file.keys()
        shapes = {name: file.get_slice(name).get_shape() for name in names}
        return json.loads(metadata["model"]), metadata["checksum"], shapes


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[tuple[Any, dict[str, str]]]:
    """A file whose checksum is right, and its metadata."""
    path = resolve_path(path)
    if os.path.isdir(path):
        raise ModelFileError(f"{path!r} is a folder, not a model file. Name a file in it.")
    if not os.path.exists(path):
        raise ModelFileError(f"There is no model file {path!r}. Check the path.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            _check_format(path, metadata)
            checksum, _ = _checksum(path)
            if metadata.get("checksum") != checksum.decode():
                raise ValueError("its checksum does not match its content")
            yield file, metadata
    except ModelFileError:
        raise
    except Exception as error:  # a damaged file can raise any error
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ModelFileError(
            f"{path!r} is not a skage model file, or is damaged: {reason}. Copy the file again, or "
            "write it again with model.save(path) or `python -m skage train`."
        ) from error


def _check_format(path: str, metadata: Mapping[str, str]) -> None:
    found = metadata.get("format")
    if found == _FORMAT:
        return
    number = _ANY_FORMAT.fullmatch(str(found))
    known = _ANY_FORMAT.fullmatch(_FORMAT)
    if number and known and int(number[1]) > int(known[1]):
        raise ModelFileError(
            f"{path!r} was written by a newer version of skage ({metadata.get('version')!r}), in "
            f"format {number[1]}; skage {__version__} reads format {known[1]}. Upgrade skage."
        )
    raise ValueError(f"its format is {found!r}, not {_FORMAT!r}")


def _checksum(path: str) -> tuple[bytes, int]:
    """The checksum of a file with the checksum field blanked, and the field's position."""
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
