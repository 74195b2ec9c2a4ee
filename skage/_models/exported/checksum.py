"""The checksum in the metadata of an exported file, which covers all of its other bytes."""

from __future__ import annotations

import hashlib

#: Stands for the checksum while it is computed.
BLANK = "0" * 64
_BEFORE = b'"checksum": "'  # in the JSON of the metadata, which are behind the weights


def seal(content: bytes) -> bytes:
    """Return the content of a file with its checksum.

    Raises
    ------
    ValueError
        If there is no place for it.
    """
    start = _place(content)
    return content[:start] + _checksum(content, start) + content[start + len(BLANK) :]


def is_intact(content: bytes) -> bool:
    """Return whether the content of a file has the checksum that it states."""
    try:
        start = _place(content)
    except ValueError:
        return False
    return content[start : start + len(BLANK)] == _checksum(content, start)


def _place(content: bytes) -> int:
    return content.rindex(_BEFORE) + len(_BEFORE)


def _checksum(content: bytes, start: int) -> bytes:
    view = memoryview(content)
    hasher = hashlib.sha256(view[:start])
    hasher.update(BLANK.encode())
    hasher.update(view[start + len(BLANK) :])
    return hasher.hexdigest().encode()
