"""Splits that keep all images of a person, and identical images, on one side.

The loaders of `skage.datasets` provide the `groups`. Use `AgeStratifiedGroupKFold` for
most datasets, ``sklearn.model_selection.LeaveOneGroupOut`` to leave one person out (the
usual protocol on FG-NET), and `published_split` where the authors of a dataset publish
a split.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import StratifiedGroupKFold

from ._checks import check_ages
from ._groups import group_codes
from .binning import AgeBinner

__all__ = ["AgeStratifiedGroupKFold", "published_split"]


class AgeStratifiedGroupKFold(StratifiedGroupKFold):
    """Cross-validation folds that share no group and have similar age distributions.

    Ages are cut into classes of equal counts, and scikit-learn's StratifiedGroupKFold
    spreads the groups over the folds by these classes.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds; at most the number of groups.

    n_bins : int, default=10
        Number of age classes; 1 ignores the ages. Fewer are used if there are fewer
        distinct ages, or if a class would otherwise have fewer samples than there are
        folds.

    shuffle : bool, default=False
        Whether to shuffle the groups first, among those of similar ages.

    random_state : int, RandomState instance or None, default=None
        Pass an int for the same folds each time. Used only if `shuffle` is True.

    Examples
    --------
    >>> import numpy as np
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
        """Generate the indices of the training and test samples of each fold.

        Parameters
        ----------
        X : sequence of n_samples images
            Only its length is used.
        y : array-like of shape (n_samples,)
            Ages in years.
        groups : array-like of shape (n_samples,)
            The group of each sample, such as `groups` of a loader.

        Returns
        -------
        folds : iterator of (train, test)
            Positions of the samples, two ndarrays of int for each fold.

        Raises
        ------
        ValueError
            If `groups` is None or one of them is missing (None or NaN), there are fewer
            groups than folds, or `n_bins` is below 1.
        """
        if self.n_bins < 1:
            raise ValueError(f"n_bins={self.n_bins!r} is not valid. Pass at least 1.")
        if groups is None:
            raise ValueError(
                "AgeStratifiedGroupKFold needs groups to keep each person in one fold. Pass them, "
                "for example groups=faces.groups of a loader."
            )
        n_groups = len(np.unique(group_codes(groups)))
        if self.n_splits > n_groups:
            raise ValueError(
                f"n_splits={self.n_splits} exceeds the number of groups ({n_groups}). Pass a "
                "smaller n_splits."
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
    """Return the split that the authors of a dataset publish, to pass as ``cv``.

    Parameters
    ----------
    faces : Bunch
        Returned by a loader whose frame has the column split.
    train, test : str or number, or sequence of them, default=("train", "valid") and "test"
        Values of the column split to train on and to test on.

    Returns
    -------
    cv : list of one pair of ndarrays
        Indices of the training and of the test samples.

    Raises
    ------
    ValueError
        If the dataset has no published split, its split does not have these parts, or a
        part is on both sides.

    Warns
    -----
    UserWarning
        If a person or identical images are on both sides.
    """
    if "split" not in faces.frame:
        raise ValueError(
            "This dataset has no published split: its frame has no column 'split'. Use "
            "AgeStratifiedGroupKFold."
        )
    split = faces.frame["split"]
    parts = [[part] if np.isscalar(part) else list(part) for part in (train, test)]
    known = sorted(split.dropna().unique().tolist())
    has = ", ".join(map(str, known))
    advice = ' Pass train="train", test="valid".' if known == ["train", "valid"] else ""
    for part in [*parts[0], *parts[1]]:
        if part not in known:
            raise ValueError(f"The published split has no part {part!r}; it has {has}.{advice}")
    if both := set(parts[0]) & set(parts[1]):
        raise ValueError(
            f"Cannot both train and test on {', '.join(sorted(map(str, both)))}. Pass each part "
            "once, as train or as test."
        )
    indices = [np.flatnonzero(split.isin(part)) for part in parts]
    shared = np.intersect1d(*(faces.groups[rows] for rows in indices))
    if len(shared):
        n_images = int(np.isin(faces.groups[indices[1]], shared).sum())
        warnings.warn(
            f"{len(shared)} groups (people or identical images) are on both sides of the published "
            f"split, with {n_images} of its {len(indices[1])} test images: the test score will be "
            "too optimistic.",
            stacklevel=2,
        )
    return [(indices[0], indices[1])]
