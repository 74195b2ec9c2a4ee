"""What the evaluated images share with those that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length

from .._images.reading import ImageError, check_images, digest_and_decoder, map_ahead
from ..datasets import find_near_duplicates


@dataclass(frozen=True)
class Overlap:
    """Which images are known from training.

    Attributes
    ----------
    identical, near : ndarray of shape (n_samples,), bool
        Whether an image of the same content, or one that shows nearly the same
        photograph, was trained on.
    person : ndarray of shape (n_samples,), bool, or None
        Whether the person was trained on; None if that is not known.
    """

    identical: np.ndarray
    near: np.ndarray
    person: np.ndarray | None

    @property
    def any(self) -> np.ndarray:
        found = self.identical | self.near
        return found if self.person is None else found | self.person

    def counts(self) -> dict[str, int | None]:
        """Numbers of images by kind."""
        return {
            "identical": int(self.identical.sum()),
            "near_identical": int(self.near.sum()),
            "person": None if self.person is None else int(self.person.sum()),
            "any": int(self.any.sum()),
        }


def find_overlap(X: Any, groups: Any, X_train: Any, groups_train: Any) -> Overlap:
    """Compare images and persons with those of the training.

    Raises
    ------
    ValueError
        If the persons of only one side are given, or lengths differ.
    """
    images, trained = check_images(X), check_images(X_train)
    if groups_train is not None and groups is None:
        raise ValueError(
            "groups_train is given, but groups is not. Pass both, so that persons can be compared."
        )
    person = None
    if groups_train is not None:
        check_consistent_length(trained, groups_train)
        person = pd.Series(np.asarray(groups)).isin(np.asarray(groups_train)).to_numpy()
    known = set(_digests(trained)) - {None}
    identical = np.array([digest in known for digest in _digests(images)], dtype=bool)
    everything = [*images, *trained]
    pairs = find_near_duplicates(everything, on_error="skip")
    across = pairs[(pairs["i"] < len(images)) & (pairs["j"] >= len(images))]
    near = np.zeros(len(images), dtype=bool)
    near[across["i"]] = True
    return Overlap(identical, near & ~identical, person)


def _digests(images: Any) -> list[bytes | None]:
    def digest(position: int) -> bytes | None:
        try:
            return digest_and_decoder(images[position], position)[0]
        except ImageError:
            return None

    return list(map_ahead(digest, range(len(images)), None))
