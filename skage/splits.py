"""Splits that keep a person, and identical images, on one side.

The loaders of `skage.datasets` give the `groups`. `AgeStratifiedGroupKFold` is for
most; ``sklearn.model_selection.LeaveOneGroupOut`` leaves one person out, the usual
protocol on FG-NET; `published_split` is the authors' own where they have one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.model_selection import StratifiedGroupKFold

from ._checks import check_ages
from .binning import AgeBinner

__all__ = ["AgeStratifiedGroupKFold", "published_split"]


class AgeStratifiedGroupKFold(StratifiedGroupKFold):
    """Folds that share no group and are as alike in age as the groups permit.

        Ages are cut into classes of equal counts, over which scikit-learn's
        StratifiedGroupKFold spreads the groups.

        Parameters
        ----------
        n_splits : int, default=5
            Number of folds, at most that of the groups.

        n_bins : int, default=10
            Number of age classes; 1 for folds that heed no ages. Fewer are made where
            there are too few distinct ages, or else a class would have fewer samples
            than there are folds.

        shuffle : bool, default=False
            Shuffle the groups first, among those alike in age.

        random_state : int, RandomState instance or None, default=None
            An int gives the same folds each time; used if `shuffle` is True.

        Examples
        --------
        >>> import numpy as np
    from numpy.typing import ArrayLike
        >>> from skage.splits import AgeStratifiedGroupKFold
        >>> ages = np.array([8, 9, 30, 31, 9, 9, 32, 30])
        >>> person = [0, 0, 1, 1, 2, 2, 3, 3]
        >>> for train, test in AgeStratifiedGroupKFold(2).split(ages, ages, person):
        ...     print(ages[test])
        [ 8  9 30 31]
        [ 9  9 32 30]
    """

    def __init__(self, n_splits=5, *, n_bins=10, shuffle=False, random_state=None):
        super().__init__(n_splits=n_splits, shuffle=shuffle, random_state=random_state)
        self.n_bins = n_bins

    def split(
        self, X: Any, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Indices of the training and test samples of each fold.

        Parameters
        ----------
        X : sequence of n_samples images
            Only its length counts.
        y : array-like of shape (n_samples,)
            Ages in years.
        groups : array-like of shape (n_samples,)
            The group of each sample, such as the loaders' `groups`.

        Returns
        -------
        folds : iterator of (train, test)
            Positions of the samples, two ndarrays of int for each fold.

        Raises
        ------
        ValueError
            If there are no groups, or fewer than folds, or one is missing (None or NaN),
            or `n_bins` is below 1.
        """
        if self.n_bins < 1:
            raise ValueError(f"n_bins={self.n_bins!r} must be at least 1.")
        if groups is None:
            raise ValueError(
                "AgeStratifiedGroupKFold keeps a person on one side and needs to know them: pass "
                "groups, such as groups=faces.groups of a loader."
            )
        missing = pd.isna(pd.Series(groups)).to_numpy()
        if missing.any():
            raise ValueError(
                f"groups[{int(np.argmax(missing))}] is missing. Give each sample whose person is "
                "not known a group of its own, as faces.groups of a loader does."
            )
        n_groups = len(np.unique(np.asarray(groups)))
        if self.n_splits > n_groups:
            raise ValueError(
                f"n_splits={self.n_splits} is more than the number of groups: {n_groups}."
            )
        return super().split(X, self._classes(check_ages(y)), groups)

    def _classes(self, ages: np.ndarray) -> np.ndarray:
        for n_bins in range(min(self.n_bins, len(np.unique(ages))), 1, -1):
            codes = AgeBinner(n_bins).fit_transform(ages)
            if np.bincount(codes).min() >= self.n_splits:
                return codes
        return np.zeros(len(ages), dtype=int)


def published_split(
    faces: Any, train: Any | Sequence[Any] = ("train", "valid"), test: Any | Sequence[Any] = "test"
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The split that a data set's authors publish, to pass as ``cv``.

    Parameters
    ----------
    faces : Bunch
        Of a loader whose frame has the column split.
    train, test : str or number, or sequence of them, default=("train", "valid") and "test"
        The authors' parts to train and to test on, as the column split has them.

    Returns
    -------
    cv : list of one pair of ndarrays
        Indices of the training and of the test samples.

    Raises
    ------
    ValueError
        If the data set has no split, or not these parts, or one is on both sides.

    Warns
    -----
    UserWarning
        If a person or an identical image stands on both sides.
    """
    if "split" not in faces.frame:
        raise ValueError(
            "This data set has no published split: its frame has no column 'split'. Use "
            "AgeStratifiedGroupKFold."
        )
    split = faces.frame["split"]
    parts = [[part] if np.isscalar(part) else list(part) for part in (train, test)]
    known = sorted(split.dropna().unique().tolist())
    has = ", ".join(map(str, known))
    way_out = ' Pass train="train", test="valid".' if known == ["train", "valid"] else ""
    for part in [*parts[0], *parts[1]]:
        if part not in known:
            raise ValueError(f"There is no part {part!r} of this split; it has {has}.{way_out}")
    if both := set(parts[0]) & set(parts[1]):
        raise ValueError(
            f"{', '.join(sorted(map(str, both)))} cannot be both trained and tested on."
        )
    indices = [np.flatnonzero(split.isin(part)) for part in parts]
    shared = np.intersect1d(*(faces.groups[rows] for rows in indices))
    if len(shared):
        n_images = int(np.isin(faces.groups[indices[1]], shared).sum())
        warnings.warn(
            f"{len(shared)} persons or identical images stand on both sides of the published "
            f"split, with {n_images} of the {len(indices[1])} images to test on: the test score is "
            "too good.",
            stacklevel=2,
        )
    return [(indices[0], indices[1])]
