"""A path that knows its group, so that an estimator can tell what a split parts."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any


class FacePath(str):
    """The path of an image, and in `group` whom or what it shows.

    It is an ordinary string in all else: it compares, hashes and opens as one.

    Attributes
    ----------
    group : hashable
        Images of one group, a person or one content, belong on one side of a
        split. It means the same in every load: (data set, person), or where the
        person is not known, the absolute path of the image; of persons or images
        that identical files join, the first in alphabetical order.

    Notes
    -----
    Only files of one load are compared. Identical files in two loads are therefore
    of two groups, unless they are known to show one person, and persons whom one
    load joins stay apart in another that leaves out the files that join them.
    """

    __slots__ = ("group",)

    group: Hashable

    def __new__(cls, path: str, group: Hashable) -> FacePath:
        self = super().__new__(cls, path)
        self.group = group
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.group)
