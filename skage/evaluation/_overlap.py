"""What the evaluated images share with those that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length

from .._images.reading import are_among, check_images, content_digests
from ..datasets import find_near_duplicates


@dataclass(frozen=True)
class Overlap:
    """Which images are known from training.

    Parameters
    ----------
    identical : ndarray of shape (n_samples,), bool
        Whether an image of the same content was trained on.
    near : ndarray of shape (n_samples,), bool, or None
        Whether another image of nearly the same photograph was; None if that is not known.
    person : ndarray of shape (n_samples,), bool, or None
        Whether the person was; None if that is not known.
    """

    identical: np.ndarray
    near: np.ndarray | None
    person: np.ndarray | None

    @property
    def any(self) -> np.ndarray:
        """Whether any of these is known of an image."""
        found = self.identical
        for other in (self.near, self.person):
            found = found if other is None else found | other
        return found

    def counts(self) -> dict[str, int | None]:
        """Return the numbers of images by kind.

        Returns
        -------
        counts : dict of str to int
            Of identical, near_identical and person, None where it is not known, and any.
        """
        kinds = {"identical": self.identical, "near_identical": self.near, "person": self.person}
        counts = {name: None if of is None else int(of.sum()) for name, of in kinds.items()}
        return counts | {"any": int(self.any.sum())}


def find_overlap(
    X: Any, groups: Any, X_train: Any, groups_train: Any, seen: np.ndarray | None
) -> Overlap | None:
    """Compare images and persons with those of the training.

    Parameters
    ----------
    X : sequence of n_samples images
    groups : array-like of shape (n_samples,) or None
    X_train : sequence of images or None
    groups_train : array-like or None
    seen : ndarray of shape (n_samples,), bool, or None
        As `skage._held_out.trained_on` returns it.

    Returns
    -------
    overlap : Overlap or None
        None if nothing is known of the training.

    Raises
    ------
    ValueError
        If the images or persons of only one side are given, or lengths differ.
    """
    if groups_train is not None and (groups is None or X_train is None):
        raise ValueError(
            "groups_train is given, but groups or X_train is not. Pass all three, so that persons "
            "can be compared."
        )
    if X_train is not None and X is None:
        raise ValueError(
            "X_train is given, but X is not. Pass the images that are compared with it."
        )
    if X_train is None:
        return None if seen is None else Overlap(seen, None, None)
    images, trained = check_images(X), check_images(X_train)
    known = set(content_digests(trained)) - {None}
    identical = are_among(images, known)
    if seen is not None:
        identical |= seen
    pairs = find_near_duplicates([*images, *trained], on_error="skip")
    across = pairs[(pairs["i"] < len(images)) & (pairs["j"] >= len(images))]
    near = np.zeros(len(images), dtype=bool)
    near[across["i"]] = True
    person = None
    if groups_train is not None:
        check_consistent_length(trained, groups_train)
        person = pd.Series(np.asarray(groups)).isin(np.asarray(groups_train)).to_numpy()
    return Overlap(identical, near & ~identical, person)
