"""Training targets: labels, weights, ages and distributions, one row for each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, column_or_1d
from torch import Tensor

from .._checks import check_ages, check_weights
from .._targets import AgeTargets


@dataclass
class Targets:
    """Targets of n images.

    Parameters
    ----------
    codes : ndarray (n,), int64
        Index of the class.
    weight : ndarray (n,), float32
        Weight in the loss, 1 on average.
    ages : ndarray (n,), float32, or None
        Ages in years.
    distribution : ndarray (n, n_classes), float32, or None
        Target distribution over the classes; None stands for all mass on `codes`.
    """

    codes: np.ndarray
    weight: np.ndarray
    ages: np.ndarray | None = None
    distribution: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def years(self) -> np.ndarray:
        """Ages, or the codes if ages are unknown; validation splits are even over them."""
        return self.codes if self.ages is None else self.ages

    def take(self, rows: np.ndarray) -> Targets:
        """Return the targets of some images, given a mask or positions."""
        return Targets(**{name: values[rows] for name, values in self._fields()})

    def tensors(self, rows: np.ndarray) -> dict[str, Tensor]:
        """Return the targets of some images as tensors, by name."""
        return {name: torch.from_numpy(values[rows]) for name, values in self._fields()}

    def _fields(self) -> list[tuple[str, np.ndarray]]:
        return [(name, values) for name, values in vars(self).items() if values is not None]


@dataclass
class Labels:
    """Checked labels of the images of a fit, without images of weight zero.

    Parameters
    ----------
    positions : ndarray (n,), int
        Positions in X of the images whose weight is not zero.
    classes : ndarray (n_classes,)
        Their distinct labels, sorted.
    targets : Targets (n)
        Their targets.
    bin_values : ndarray (n_classes,) or None
        Ages in years that the classes stand for.
    """

    positions: np.ndarray
    classes: np.ndarray
    targets: Targets
    bin_values: np.ndarray | None

    def targets_of(self, positions: np.ndarray) -> Targets:
        """Return the targets of some of these images, given their positions in X."""
        targets = self.targets.take(np.isin(self.positions, positions))
        targets.weight /= targets.weight.mean()
        return targets


def check_labels(
    y: Any,
    sample_weight: Any = None,
    class_weight: Any = None,
    targets: AgeTargets | None = None,
) -> Labels:
    """Check labels, weights and targets; see `VGG16Classifier.fit`.

    Raises
    ------
    ValueError
        If the labels are not classes; if ages, bin values, distributions or weights do
        not match them; or if all weights are zero.
    """
    y = column_or_1d(y, warn=True)
    if targets is None:  # scikit-learn would warn about a large number of bin codes
        check_classification_targets(y)
    ages = bin_values = distributions = None
    if targets is not None:
        bin_values, distributions = targets.bin_values, targets.distributions
        ages = check_ages(targets.ages).astype(np.float32)
        check_consistent_length(y, ages)
        n_bins = len(bin_values)
        if y.dtype.kind not in "iu" or not 0 <= y.min() <= y.max() < n_bins:
            raise ValueError(
                f"targets has {n_bins} bins, but the labels are {np.unique(y)}. Pass bin codes: "
                f"whole numbers from 0 to {n_bins - 1}."
            )
        if distributions is not None and np.shape(distributions) != (len(y), n_bins):
            raise ValueError(
                f"targets.distributions has shape {np.shape(distributions)}, but there are "
                f"{len(y)} labels and {n_bins} bins. Pass shape ({len(y)}, {n_bins})."
            )
    weight = check_weights(sample_weight, len(y))
    if class_weight is not None:
        balance = check_weights(_class_weights(class_weight, y, weight > 0, ages), len(y))
        with np.errstate(under="ignore"):
            weight = check_weights(weight * balance, len(y))
    rows = np.flatnonzero(weight)
    classes, codes = np.unique(y[rows], return_inverse=True)
    if distributions is not None:
        distributions = np.asarray(distributions, np.float32)
        distributions = distributions[rows][:, classes]
        totals = distributions.sum(axis=1, keepdims=True)
        empty = rows[~(totals[:, 0] > 0)]
        if len(empty):
            raise ValueError(
                f"targets.distributions has no probability on any label of y at index {empty[0]}. "
                "Leave out such images, or give them a weight of 0."
            )
        distributions /= totals
    return Labels(
        rows,
        classes,
        Targets(
            codes.astype(np.int64),
            _normalised(weight[rows]),
            None if ages is None else ages[rows],
            distributions,
        ),
        None if bin_values is None else np.asarray(bin_values)[classes],
    )


def _normalised(weight: np.ndarray) -> np.ndarray:
    """Scale weights to a mean of 1."""
    with np.errstate(under="ignore"):
        return (weight / weight.mean()).astype(np.float32)


def _class_weights(
    class_weight: Any, y: np.ndarray, is_used: np.ndarray, ages: np.ndarray | None
) -> np.ndarray:
    """Return the weight of each image's label, or of its year of age.

    Images outside the mask `is_used` do not count when classes are balanced.
    """
    if isinstance(class_weight, str) and class_weight == "balanced_ages":
        if ages is None:
            raise ValueError(
                "class_weight='balanced_ages' needs ages in years. Put the classifier into "
                "BinnedAgeRegressor, or pass targets to fit."
            )
        y = np.floor(ages)
    present = np.unique(y[is_used])
    if isinstance(class_weight, dict):
        balance = np.array([class_weight.get(label, 1.0) for label in present])
        if not (np.isfinite(balance).all() and (balance >= 0).all()):
            raise ValueError(
                f"class_weight={class_weight!r} must map labels to finite numbers >= 0."
            )
    else:
        balance = compute_class_weight("balanced", classes=present, y=y[is_used])
    return balance[np.searchsorted(present, y).clip(0, len(present) - 1)]
