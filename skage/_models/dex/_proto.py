"""Read protocol buffers with messages that are declared in code."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError


def messages(package: str, messages: Mapping, enums: Mapping = {}) -> dict[str, Any]:
    """Create message classes, in a separate pool to avoid conflicts with other packages.

    Parameters
    ----------
    package : str
    messages : dict
        The fields of each message by name: number and type, with a star if repeated.
        Packed numbers may be declared as "bytes*", as they are stored in a file as
        consecutive bytes; millions of them are then read without a Python object for each.
    enums : dict
        The numbers of each enum's values by name.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto2"
    )
    for name, values in enums.items():
        enum = file.enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field_name, (number, type_name) in fields.items():
            entry = message.field.add(name=field_name, number=number)
            entry.label = entry.LABEL_REPEATED if type_name[-1] == "*" else entry.LABEL_OPTIONAL
            type_name = type_name.rstrip("*")
            if type_name in messages or type_name in enums:
                entry.type_name = f".{package}.{type_name}"
                entry.type = entry.TYPE_MESSAGE if type_name in messages else entry.TYPE_ENUM
            else:
                entry.type = getattr(entry, f"TYPE_{type_name.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in messages
    }


def parse(path: str, kind: Any, what: str) -> Any:
    """Parse a file as one message.

    Raises
    ------
    ValueError
        If that fails. The message continues a sentence that begins with the file's name.
    """
    message = kind()
    with open(path, "rb") as file:
        content = file.read()
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise ValueError(
            f"is not {what}, or is truncated or damaged: its {len(content)} bytes cannot be "
            "parsed. Download it again and compare its size."
        ) from error
    return message


def array(chunks: Iterable[bytes], dtype: str, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Convert a layer's weights to a float32 array.

    Raises
    ------
    ValueError
        If their number does not match the shape.
    """
    parts = list(chunks)
    content = parts[0] if len(parts) == 1 else b"".join(parts)
    n_numbers = len(content) / np.dtype(dtype).itemsize
    if n_numbers != math.prod(shape) or min(shape, default=0) < 0:
        raise ValueError(
            f"is damaged: layer {name!r} has {n_numbers:g} numbers, but its shape {shape} requires "
            f"{math.prod(shape)}. Download it again and compare its size."
        )
    # astype copies, as protobuf's bytes are read-only.
    return np.frombuffer(content, dtype).astype(np.float32).reshape(shape)


def text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
